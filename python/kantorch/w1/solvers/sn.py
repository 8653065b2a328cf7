"""Spectral normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kantorch.critics import mlp
from kantorch.w1.networks import CriticSolver
from kantorch.w1.registry import register

if TYPE_CHECKING:
    from torch import Tensor, nn


@register
@dataclass(kw_only=True, eq=False)
class SN(CriticSolver):
    """[Lip-SN]: a ReLU network whose layers have spectral norm 1.

    Args:
        power_steps: Power iterations of a step, at least 1.

    Source:
        Miyato, Kataoka, Koyama, Yoshida, ICLR 2018.
    """

    name = "sn"
    power_steps: int = 5

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self._require("power_steps", self.power_steps >= 1, ">= 1")

    def _critic(self, x: Tensor) -> nn.Module:
        dimension = x.shape[1]
        return mlp(dimension, self._widths(dimension), spectral_steps=self.power_steps).to(x)

    def _potential(self, x: Tensor) -> Tensor:
        # Outside of training a call takes no power iterations: asking for values changes nothing.
        self.critic.eval()
        values: Tensor = self.critic(x)
        self.critic.train()
        return values
