"""What a solve can end with, and how it says that it did not end well."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """How the solve of one problem ended; `OTResult.status` holds one a problem.

    >>> Status(1).name
    'CONVERGED'
    """

    OPTIMAL = 0
    """Exact: the value was proved to be within 1e-12 of the optimum, relative to the costs that an optimal
    plan can pay, before it was rounded to its dtype."""
    CONVERGED = 1
    """The tolerance was reached, and verified on the returned potentials."""
    FIXED_ITERATIONS = 2
    """`tol=0.0`: exactly `max_iter` plain iterations were made, as asked."""
    MAX_ITERATIONS = 3
    """`max_iter` was reached before the tolerance."""
    PRECISION_LIMIT = 4
    """The arithmetic can get no closer; `marginal_error` tells how close it got. Exact: nor can it prove the
    value, or the value is beyond the range of its dtype."""
    BAD_INPUT = 5
    """On CUDA only: the problem's input breaks a rule; its results are NaN."""


ADVICE = {
    Status.MAX_ITERATIONS: "raise max_iter, loosen tol, or use a larger reg",
    Status.PRECISION_LIMIT: "loosen tol, or use a larger reg",
    Status.BAD_INPUT: "look for NaN, infinities, negative or unequal masses in its input",
}


class ConvergenceWarning(UserWarning):
    """Some problem of a solve has not converged; `OTResult.status` tells which."""


class ConvergenceError(RuntimeError):
    """Raised by `OTResult.check` if some problem has not converged."""
