"""Gradient penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kantorch.critics import gradient_penalty
from kantorch.w1.networks import CriticSolver
from kantorch.w1.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register
@dataclass(kw_only=True, eq=False)
class GP(CriticSolver):
    """[Lip-GP]: a ReLU network, punished where its slope between samples is not 1.

    Args:
        weight: Of the penalty, >= 0.

    Source:
        Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, NeurIPS 2017; eq. 3.3 of the thesis, whose
        penalty is subtracted when maximising.
    """

    name = "gp"
    iterations: int = 60_000
    weight: float = 10.0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self._require("weight", self.weight >= 0, ">= 0")

    def _penalty(self, x: Tensor, y: Tensor) -> Tensor:
        return self.weight * gradient_penalty(self.critic, x, y, self._generator)
