"""Two potentials under a soft constraint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from kantorch._check import require_choice
from kantorch.w1.networks import NetworkSolver
from kantorch.w1.registry import register

if TYPE_CHECKING:
    from kantorch.w1.solver import Draw

Penalty = Literal["l2", "entropic"]

_STEEPEST = 20.0  # from here on exp goes on as its tangent: its square would overflow in Adam


@register
@dataclass(kw_only=True, eq=False)
class LS(NetworkSolver):
    """[Reg]: maximises E_P f + E_Q g minus a penalty where f(x) + g(y) > |x - y|.

    With v = f(x) + g(y) - |x - y| on the pairs of a batch the penalty is E max(0, v)^2 / (4 eps),
    "l2", or eps E exp(v / eps), "entropic". Nothing makes g near -f or f 1-Lipschitz: E_P f - E_Q f
    may be far from W1, while E_P f + E_Q g, its `dual`, is near the regularised value.

    Args:
        penalty: "l2" or "entropic".
        epsilon: > 0. None: 0.01 for "l2", as published, 0.1 for "entropic".

    Source:
        Seguy et al., ICLR 2018; Sanjabi, Ba, Razaviyayn, Lee, NeurIPS 2018, eq. 5; eq. 3.4 of the
        thesis, where E_Q g enters with a plus.
    """

    name = "ls"
    betas: tuple[float, float] = (0.9, 0.999)
    penalty: Penalty = "l2"
    epsilon: float | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_choice("penalty", self.penalty, get_args(Penalty))
        self._require("epsilon", self.epsilon is None or self.epsilon > 0, "> 0")

    def _build(self, x: Tensor, y: Tensor) -> None:
        self._f, self._g = self._critic(x), self._critic(y)
        self._optimizer = self._adam([*self._f.parameters(), *self._g.parameters()])

    def _step(self, draw: Draw) -> Tensor:
        x, y = draw()
        f, g = self._f(x), self._g(y)
        excess = f + g - torch.linalg.vector_norm(x - y, dim=1)
        loss = self._punished(excess).mean() - f.mean() - g.mean()
        return self._descend(self._optimizer, loss)

    def _punished(self, excess: Tensor) -> Tensor:
        if self.penalty == "l2":
            return excess.clamp(min=0) ** 2 / (4 * (self.epsilon or 0.01))
        epsilon = self.epsilon or 0.1
        scaled = excess / epsilon
        inside = scaled.clamp(max=_STEEPEST)
        return epsilon * inside.exp() * (1 + scaled - inside)

    def _potential(self, x: Tensor) -> Tensor:
        values: Tensor = self._f(x)
        return values

    def dual(self, x: Tensor, y: Tensor) -> float:
        """E_P f + E_Q g on these samples."""
        self._require_fitted(x)
        with torch.no_grad():
            return float(self._f(x).double().mean() + self._g(y).double().mean())
