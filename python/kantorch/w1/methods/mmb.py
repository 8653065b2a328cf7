"""The c-transform over the mini-batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kantorch._check import computed
from kantorch.w1._parts import split
from kantorch.w1.networks import NetworkSolver
from kantorch.w1.registry import register

if TYPE_CHECKING:
    from kantorch.w1.solver import Draw


@register
@dataclass(kw_only=True, eq=False)
class MMB(NetworkSolver):
    """[MM:B]: maximises E_P f + E_Q min_x (|x - y| - f(x)), the minimum over the batch of P.

    Source:
        Mallasto, Frellsen, Boomsma, Feragen, (q, p)-Wasserstein GANs, 2019; eq. 3.5 of the thesis,
        which subtracts the transform where it has to be added.
    """

    name = "mmb"
    iterations: int = 25_000
    betas: tuple[float, float] = (0.9, 0.999)

    def _build(self, x: Tensor, y: Tensor) -> None:
        self._network = self._critic(x)
        self._optimizer = self._adam(self._network.parameters())

    def _step(self, draw: Draw) -> Tensor:
        x, y = draw()
        f = self._network(x)
        loss = -f.mean() - self._transform(x, y, f).mean()
        return self._descend(self._optimizer, loss)

    def _transform(self, x: Tensor, y: Tensor, f: Tensor) -> Tensor:
        """The minimum over x of |x - y| - f(x) for each y, differentiable in f."""
        with torch.no_grad():
            nearest = (torch.cdist(computed(y), computed(x)) - f).argmin(1)
        values: Tensor = torch.linalg.vector_norm(x[nearest] - y, dim=1) - f[nearest]
        return values

    def _potential(self, x: Tensor) -> Tensor:
        values: Tensor = self._network(x)
        return values

    def dual(self, x: Tensor, y: Tensor) -> float:
        """E_P f + E_Q min_x (|x - y| - f(x)), the minimum over these samples of P."""
        f = self.potential(x)
        parts = split(y, len(x))
        transformed = torch.cat([self._transform(x, part, f) for part in parts])
        return float(f.double().mean() + transformed.double().mean())
