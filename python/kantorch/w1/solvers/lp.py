"""Lipschitz penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kantorch.critics import lipschitz_penalty
from kantorch.w1.networks import CriticSolver
from kantorch.w1.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register
@dataclass(kw_only=True, eq=False)
class LP(CriticSolver):
    """[Lip-LP]: a ReLU network, punished where its slope between samples is above 1.

    Args:
        weight: Of the penalty, >= 0.

    Source:
        Petzka, Fischer, Lukovnicov, ICLR 2018.
    """

    name = "lp"
    iterations: int = 60_000
    weight: float = 10.0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self._require("weight", self.weight >= 0, ">= 0")

    def _penalty(self, x: Tensor, y: Tensor) -> Tensor:
        return self.weight * lipschitz_penalty(self.critic, x, y, self._generator)
