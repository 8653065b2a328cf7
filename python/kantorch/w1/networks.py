"""What solvers with one critic share: a network, Adam and a loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kantorch.critics import mlp
from kantorch.w1.solver import Draw, Solver

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(kw_only=True, eq=False)
class NetworkSolver(Solver):
    """A solver that trains networks.

    Args:
        learning_rate: Of Adam.
        betas: Of Adam.
        hidden: Widths of the hidden layers. None: two of max(2 D, 128).
    """

    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.0, 0.9)
    hidden: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self._require("learning_rate", self.learning_rate > 0, "> 0")

    def _widths(self, dimension: int) -> tuple[int, ...]:
        return (max(2 * dimension, 128),) * 2 if self.hidden is None else self.hidden

    def _critic(self, x: Tensor) -> nn.Module:
        """A ReLU network (n, D) -> (n,), in the dtype and on the device of x."""
        return mlp(x.shape[1], self._widths(x.shape[1])).to(x)

    def _adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.learning_rate, betas=self.betas)

    def _descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()


@dataclass(kw_only=True, eq=False)
class CriticSolver(NetworkSolver):
    """Minimises E_Q f - E_P f + penalty over one network f.

    A subclass chooses the network (`_critic`), a penalty, or what follows each step (`_project`).
    """

    _network: nn.Module = field(init=False, repr=False)

    @property
    def critic(self) -> nn.Module:
        """The network that is the potential."""
        return self._network

    def _build(self, x: Tensor, y: Tensor) -> None:
        self._network = self._critic(x)
        self._optimizer = self._adam(self._network.parameters())

    def _step(self, draw: Draw) -> Tensor:
        x, y = draw()
        dual: Tensor = self._network(x).mean() - self._network(y).mean()
        loss = self._descend(self._optimizer, self._penalty(x, y) - dual)
        self._project()
        return loss

    def _penalty(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(())

    def _project(self) -> None:
        pass

    def _potential(self, x: Tensor) -> Tensor:
        values: Tensor = self._network(x)
        return values
