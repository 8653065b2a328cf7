"""A strongly 1-Lipschitz critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kantorch.critics import MinMaxTree
from kantorch.w1.networks import CriticSolver
from kantorch.w1.registry import register

if TYPE_CHECKING:
    from torch import Tensor, nn


@register
@dataclass(kw_only=True, eq=False)
class Tree(CriticSolver):
    """A `kantorch.critics.MinMaxTree`: slope 1 almost everywhere, by construction.

    Args:
        units: Leaves of the tree.
    """

    name = "tree"
    units: int = 128
    hidden: tuple[int, ...] | None = ()

    def _critic(self, x: Tensor) -> nn.Module:
        return MinMaxTree(x.shape[1], self.units, hidden=self.hidden or ()).to(x)
