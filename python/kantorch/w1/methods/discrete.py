"""The exact solution between two mini-batches, the baseline without networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kantorch._solve import solve_sample
from kantorch.costs import cost_matrix
from kantorch.w1._parts import split
from kantorch.w1.registry import register
from kantorch.w1.solver import Solver

if TYPE_CHECKING:
    from kantorch.w1.solver import Draw


@register
@dataclass(kw_only=True, eq=False)
class Discrete(Solver):
    """The exact W1 between `batch` samples of each side, from `kantorch.solve_sample`.

    Its potential is the c-transform f(x) = min_j |x - y_j| - g_j of the optimal g, 1-Lipschitz with
    slope 1 almost everywhere. It is optimal between the samples, not between P and Q: the more
    coordinates, the farther samples of the same law are from each other.
    """

    name = "discrete"
    iterations: int = 1

    def _build(self, x: Tensor, y: Tensor) -> None:
        pass

    def _step(self, draw: Draw) -> Tensor:
        x, self._y = draw()
        result = solve_sample(x, self._y, metric="euclidean").check()
        self._g = result.potential_b
        return -result.value

    def _potential(self, x: Tensor) -> Tensor:
        return torch.cat([self._costs(part).amin(1) for part in split(x, len(self._y))])

    def _gradient(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            nearest = torch.cat([self._costs(part).argmin(1) for part in split(x, len(self._y))])
            return torch.nn.functional.normalize(x - self._y[nearest], dim=1)

    def _costs(self, x: Tensor) -> Tensor:
        if len(x) == 0:
            return x.new_empty(0, len(self._y))
        return cost_matrix(x, self._y, metric="euclidean") - self._g

    def dual(self, x: Tensor, y: Tensor) -> float:
        """The exact W1 between batches of these samples, averaged: too large in the mean."""
        self._require_fitted(x)
        size = min(self.batch, len(x), len(y))
        batches = min(len(x), len(y)) // size
        one, other = (s[: batches * size].reshape(batches, size, -1) for s in (x, y))
        return solve_sample(one, other, metric="euclidean").check().value.double().mean().item()
