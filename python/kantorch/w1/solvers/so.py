"""Orthogonal layers and sorting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kantorch.critics import GroupSortNet
from kantorch.w1.networks import CriticSolver
from kantorch.w1.registry import register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kantorch.critics.orthogonal import OrthogonalMap


@register
@dataclass(kw_only=True, eq=False)
class SO(CriticSolver):
    """[Lip-SO]: orthogonal layers with sorted groups.

    Args:
        group_size: Coordinates that are sorted together. None: all of a layer. 2: OPLU.
        orthogonal_map: See `kantorch.critics.orthogonal_linear`.

    Source:
        Anil, Lucas, Grosse, ICML 2019; Chernodub and Nowicki, 2016 (OPLU).
    """

    name = "so"
    iterations: int = 25_000
    betas: tuple[float, float] = (0.9, 0.999)
    group_size: int | None = None
    orthogonal_map: OrthogonalMap = "bjorck"

    def _critic(self, x: Tensor) -> nn.Module:
        return GroupSortNet(
            x.shape[1],
            self._widths(x.shape[1]),
            group_size=self.group_size,
            orthogonal_map=self.orthogonal_map,
        ).to(x)
