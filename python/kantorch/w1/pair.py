"""Two distributions between which the optimal plan is known."""

from __future__ import annotations

import abc
import math
from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK = 1 << 15


class MonteCarlo(NamedTuple):
    """A mean over samples and its standard error."""

    value: float
    standard_error: float


class Pair(abc.ABC):
    """P and Q as samplers, with W1, an optimal plan and an optimal potential.

    Samples are float32; what they are made of is computed in float64.

    Attributes:
        dimension: Coordinates of a point.
    """

    dimension: int

    @abc.abstractmethod
    def plan(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs (x, y), each (n, D), from an optimal plan: x is of P and y of Q."""

    @abc.abstractmethod
    def potential(self, x: Tensor) -> Tensor:
        """An optimal potential f (n,) at points (n, D): W1 = E_P f - E_Q f."""

    @abc.abstractmethod
    def gradient(self, x: Tensor) -> Tensor:
        """Its gradient (n, D), of norm 1, at points (n, D)."""

    def p(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points (n, D) of P: a sampler for `Solver.fit`."""
        return self.plan(n, generator)[0]

    def q(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points (n, D) of Q: a sampler for `Solver.fit`."""
        return self.plan(n, generator)[1]

    def w1(self, n: int = 1 << 18, seed: int = 0) -> MonteCarlo:
        """W1 = E |x - y| over the optimal plan, from n of its pairs."""
        generator = torch.Generator().manual_seed(seed)
        lengths = []
        for start in range(0, n, _CHUNK):
            x, y = self.plan(min(_CHUNK, n - start), generator)
            lengths.append(torch.linalg.vector_norm((x - y).double(), dim=1))
        length = torch.cat(lengths)
        return MonteCarlo(length.mean().item(), (length.std() / math.sqrt(n)).item())
