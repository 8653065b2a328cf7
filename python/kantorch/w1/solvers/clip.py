"""Weight clipping."""

from __future__ import annotations

from dataclasses import dataclass

from kantorch.critics import clip_weights
from kantorch.w1.networks import CriticSolver
from kantorch.w1.registry import register


@register
@dataclass(kw_only=True, eq=False)
class Clip(CriticSolver):
    """[Lip-Clip]: a ReLU network with weights in [-bound, bound], Lipschitz with some constant.

    Args:
        bound: Of every weight and bias, > 0.

    Source:
        Arjovsky, Chintala, Bottou, Wasserstein GAN, 2017; eq. 3.2 of the thesis.
    """

    name = "clip"
    iterations: int = 5_000
    bound: float = 0.04

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self._require("bound", self.bound > 0, "> 0")

    def _project(self) -> None:
        clip_weights(self.critic, self.bound)
