"""What a solver says of W1, and between which bounds it lies."""

from __future__ import annotations

from typing import NamedTuple


class Estimate(NamedTuple):
    """An estimate of W1(P, Q) from samples of both.

    Attributes:
        value: mean f(x) - mean f(y) for the potential f. Comparable between solvers, and a lower
            bound up to sampling error if f is 1-Lipschitz. It may be negative where a solver fits
            two potentials that are far from each other's negatives.
        standard_error: Of `value`, from the variances of f on both sides.
        dual: What the solver itself maximises, without penalties; `value` where it has one
            potential only.
        lower: Lower bound of lemma 3.5, see `bounds`.
        upper: Upper bound of lemma 3.5.
    """

    value: float
    standard_error: float
    dual: float
    lower: float
    upper: float
