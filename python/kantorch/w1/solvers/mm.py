"""The c-transform by a learnt map."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kantorch.critics import mlp
from kantorch.w1.networks import NetworkSolver
from kantorch.w1.registry import register

if TYPE_CHECKING:
    from kantorch.w1.solver import Draw


@dataclass(kw_only=True, eq=False)
class Maximin(NetworkSolver):
    """Maximises over h: E_A h + E_B min_T (|T(z) - z| - h(T(z))), where T takes B to A.

    Args:
        map_steps: Steps of the map before each step of the potential, at least 1.

    Attributes:
        transport_map: The learnt T, a module (n, D) -> (n, D); after convergence a transport map.
    """

    iterations: int = 20_000
    map_steps: int = 12

    transport_map: nn.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self._require("map_steps", self.map_steps >= 1, ">= 1")

    def _sides(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Of samples of P and Q those of A and of B."""
        return x, y

    def _build(self, x: Tensor, y: Tensor) -> None:
        dimension = x.shape[1]
        self._network = self._critic(x)
        self.transport_map = mlp(dimension, self._widths(dimension), dimension).to(x)
        self._optimizer = self._adam(self._network.parameters())
        self._map_optimizer = self._adam(self.transport_map.parameters())

    def _step(self, draw: Draw) -> Tensor:
        for _ in range(self.map_steps):
            _, z = self._sides(*draw())
            loss = self._transform(z).mean()
            self._descend(self._map_optimizer, loss)
        a, z = self._sides(*draw())
        with torch.no_grad():
            moved = self.transport_map(z)
        # The length |T(z) - z| does not depend on the potential.
        loss = self._network(moved).mean() - self._network(a).mean()
        return self._descend(self._optimizer, loss)

    def _transform(self, z: Tensor) -> Tensor:
        moved = self.transport_map(z)
        values: Tensor = torch.linalg.vector_norm(moved - z, dim=1) - self._network(moved)
        return values

    def _potential(self, x: Tensor) -> Tensor:
        values: Tensor = self._network(x)
        return values

    def dual(self, x: Tensor, y: Tensor) -> float:
        """E_A h + E_B (|T(z) - z| - h(T(z))) on these samples."""
        self._require_fitted(x)
        a, z = self._sides(x, y)
        with torch.no_grad():
            return float(self._network(a).double().mean() + self._transform(z).double().mean())


@register
@dataclass(kw_only=True, eq=False)
class MM(Maximin):
    """[MM]: maximises over f E_P f + E_Q min_T (|T(y) - y| - f(T(y))); `transport_map` takes Q to P.

    Source:
        Nhan Dam et al., Three-player Wasserstein GAN via amortised duality, IJCAI 2019; eq. 3.6 of
        the thesis.
    """

    name = "mm"
