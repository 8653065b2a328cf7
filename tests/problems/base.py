"""What every generator returns: a transport problem together with its known answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Problem:
    """A problem in float64 with its optimal value.

    `plan` is given when the optimal plan is unique, the potentials when the optimal duals are unique up to a
    constant. `integer` says that every number is dyadic and small, so that it survives float32 unrounded.
    """

    name: str
    cost: Tensor  # (n, m)
    a: Tensor  # (n,)
    b: Tensor  # (m,)
    value: float
    plan: Tensor | None = None
    potential_a: Tensor | None = None
    potential_b: Tensor | None = None
    integer: bool = False

    def __repr__(self) -> str:
        """Name and shape: the id of a parametrised test."""
        n, m = self.cost.shape
        return f"{self.name}-{n}x{m}"

    @property
    def mass(self) -> float:
        """Total mass."""
        return float(self.a.sum())

    @property
    def span(self) -> float:
        """Largest cost minus smallest cost: the unit in which suboptimality is judged."""
        return float(self.cost.max() - self.cost.min())

    @property
    def scale(self) -> float:
        """Largest absolute cost: the unit in which rounding is judged."""
        return float(self.cost.abs().max())

    def to(self, dtype: torch.dtype, device: str | torch.device = "cpu") -> Problem:
        """The same problem in another precision; the answers stay as they are."""
        cast = {"dtype": dtype, "device": device}
        return replace(self, cost=self.cost.to(**cast), a=self.a.to(**cast), b=self.b.to(**cast))


def problem(
    name: str,
    cost: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    value: float,
    *,
    plan: np.ndarray | None = None,
    potentials: tuple[np.ndarray, np.ndarray] | None = None,
    integer: bool = False,
) -> Problem:
    """Wrap NumPy arrays."""

    def tensor(array: np.ndarray | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(array.astype("float64", copy=True))

    f, g = potentials if potentials is not None else (None, None)
    return Problem(
        name,
        tensor(cost),
        tensor(a),
        tensor(b),
        float(value),
        tensor(plan),
        tensor(f),
        tensor(g),
        integer,
    )
