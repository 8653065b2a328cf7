"""How sure a difference is: paired by seed, with Student's interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, with the half width of its interval.

    Attributes:
        mean: Of the first minus the second.
        half_width: Of Student's interval of 95 %; NaN for one pair.
        n: Pairs.

    >>> print(Difference(0.0123, 0.0045, 20))
    +1.23 ± 0.45
    """

    mean: float
    half_width: float
    n: int

    def __str__(self) -> str:
        """In per cent."""
        spread = f" ± {100 * self.half_width:.2f}" if self.n > 1 else ""
        return f"{100 * self.mean:+.2f}{spread}"

    def columns(self) -> dict[str, float]:
        """As columns of a table."""
        low, high = self.mean - self.half_width, self.mean + self.half_width
        return {"mean": self.mean, "low": low, "high": high, "n": self.n}


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare numbers that belong together pair by pair.

    Args:
        first: At least one number.
        second: As many.
    """
    differences = np.subtract(first, second)
    n = len(differences)
    if n == 1:
        return Difference(float(differences[0]), float("nan"), 1)
    error = differences.std(ddof=1) / np.sqrt(n)
    width = stdtrit(n - 1, (1 + LEVEL) / 2) * error
    return Difference(float(differences.mean()), float(width), n)
