"""Bounds of W1 from samples alone, without a solver."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kantorch.costs import cost_matrix
from kantorch.w1._parts import split


class Bounds(NamedTuple):
    """Between which values W1 lies."""

    lower: float
    upper: float


def bounds(x: Tensor, y: Tensor, *, unbiased: bool = True) -> Bounds:
    """The squared energy distance and the mean distance: E^2 <= W1 <= I.

    I(P, Q) = E |x - y|, the cost of the independent plan, and
    E^2 = I(P, Q) - I(P, P) / 2 - I(Q, Q) / 2. Rows of distances are summed and forgotten, so the
    memory is O(n + m).

    Args:
        x: (n, D), samples of P, n >= 2 if `unbiased`.
        y: (m, D), samples of Q, likewise.
        unbiased: True: estimates of the bounds of W1(P, Q), each without bias; their errors are of
            order 1 / sqrt(n). False: the bounds of W1 between the two sets of points themselves,
            which hold without error.

    Raises:
        ValueError: If the points are no matrices of as many columns, or too few.

    Source:
        Lemma 3.5 of the thesis on adversarial transfer; Rizzo and Szekely, Energy distance, 2016.

    >>> import torch
    >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [4.0]])
    >>> bounds(x, y, unbiased=False)  # W1 is 3
    Bounds(lower=2.5, upper=3.0)
    """
    least = 2 if unbiased else 1
    for name, points in (("x", x), ("y", y)):
        if points.ndim != 2 or len(points) < least:
            msg = f"{name} must have shape (n, D) with n >= {least}, got {tuple(points.shape)}"
            raise ValueError(msg)
    n, m = len(x), len(y)
    between = _sum(x, y) / (n * m)
    # The n distances of a point to itself are 0 and only dilute the mean.
    within = _sum(x, x) / (n * (n - unbiased)), _sum(y, y) / (m * (m - unbiased))
    return Bounds(between - within[0] / 2 - within[1] / 2, between)


@torch.no_grad()
def _sum(x: Tensor, y: Tensor) -> float:
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for part in split(x.detach(), len(y)):
        total += cost_matrix(part, y.detach(), metric="euclidean").double().sum()
    return total.item()
