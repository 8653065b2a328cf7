"""The learnt map with the sides swapped, whose rays are the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from kantorch.w1.registry import register
from kantorch.w1.solvers.mm import Maximin

if TYPE_CHECKING:
    from torch import Tensor


@register
@dataclass(kw_only=True, eq=False)
class MMR(Maximin):
    """[MM:R]: maximises over g E_Q g + E_P min_T (|T(x) - x| - g(T(x))); `transport_map` takes P to Q.

    The potential of P is f = -g. Its gradient is read off the map: grad f(x) points from T(x) to x.

    Source:
        Eq. 3.7 of the thesis; Korotin, Selikhanovych, Burnaev, Neural optimal transport, 2022.
    """

    name = "mmr"

    def _sides(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return y, x

    def _potential(self, x: Tensor) -> Tensor:
        return -super()._potential(x)

    def _gradient(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.nn.functional.normalize(x - self.transport_map(x), dim=1)
