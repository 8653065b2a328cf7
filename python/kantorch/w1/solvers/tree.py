"""A strongly 1-Lipschitz critic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from kantorch.critics import MinMaxTree
from kantorch.w1.networks import CriticSolver
from kantorch.w1.registry import register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kantorch.w1.solver import Draw


@register
@dataclass(kw_only=True, eq=False)
class Tree(CriticSolver):
    """A `kantorch.critics.MinMaxTree`: slope 1 almost everywhere, by construction.

    It starts with folds and units through samples of Q, and warm; temperature and learning rate
    fall on straight lines, to 0 at `cold` and at the end.

    Args:
        branches: Subtrees with layers of their own.
        units: Leaves of each.
        hidden: Widths of the layers. None: two of the dimension.
        temperature: Of the start, in the unit of the distance, >= 0.
        cold: The share of the iterations after which the temperature is 0, in (0, 1].

    Source:
        Sections 3.3 and 4.1 of the thesis on adversarial transfer, which publishes no settings:
        these are ours.
    """

    name = "tree"
    learning_rate: float = 2e-2
    branches: int = 32
    units: int = 4
    temperature: float = 0.2
    cold: float = 0.8

    _tree: MinMaxTree = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self._require("branches", self.branches >= 1, ">= 1")
        self._require("units", self.units >= 1, ">= 1")
        self._require("temperature", self.temperature >= 0, ">= 0")
        self._require("cold", 0 < self.cold <= 1, "in (0, 1]")

    def _widths(self, dimension: int) -> tuple[int, ...]:
        return (dimension, dimension) if self.hidden is None else self.hidden

    def _critic(self, x: Tensor) -> nn.Module:
        dimension = x.shape[1]
        hidden = self._widths(dimension)
        self._tree = MinMaxTree(dimension, self.units, hidden=hidden, branches=self.branches).to(x)
        return self._tree

    def _build(self, x: Tensor, y: Tensor) -> None:
        super()._build(x, y)
        self._tree.anchor(y, self._generator)
        self._taken = 0
        self._schedule = torch.optim.lr_scheduler.LinearLR(
            self._optimizer, 1.0, 0.0, total_iters=self.iterations
        )

    def _step(self, draw: Draw) -> Tensor:
        share = self._taken / (self.cold * self.iterations)
        self._tree.temperature = self.temperature * max(0.0, 1 - share)
        loss = super()._step(draw)
        self._tree.temperature = 0.0  # whoever asks on the way sees slope 1
        self._taken += 1
        self._schedule.step()
        return loss
