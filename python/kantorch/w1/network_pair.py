"""A normal law and its image as points move down a strongly 1-Lipschitz network."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kantorch._check import require_positive
from kantorch.critics import MinMaxTree, slopes
from kantorch.w1.pair import Pair

if TYPE_CHECKING:
    from torch import nn

_HALVINGS = 24


class NetworkPair(Pair):
    """P = N(0, I), and Q its image as every point moves against the gradient of a network f.

    A point x goes to x - s grad f(x) with s the largest step up to `reach`, times `share`, at which
    f has fallen by s. Where it has, it has fallen at slope 1 all the way, since it cannot fall
    faster, so these steps are an interval, whose end is found by halving. f(x) - f(T(x)) = |x - T(x)|
    makes T optimal and f a potential of P.

    Args:
        network: f, of slope 1 almost everywhere, from points (n, D) to values (n,). It is copied and
            computed in float64.
        dimension: Coordinates of a point.
        reach: The longest step, finite and > 0.
        share: Of the way that a point may go, in (0, 1].

    Raises:
        ValueError: If an argument is out of range, or the slope of the network is not 1.

    Source:
        Section 4.1 of the thesis on adversarial transfer, which says "moved by" the network; any
        map that lets f fall at slope 1 is optimal by lemma 3.2 of Santambrogio.

    >>> pair = NetworkPair.draw(4)
    >>> pair.w1(1000).value > 0
    True
    """

    def __init__(
        self, network: nn.Module, dimension: int, *, reach: float = 2.0, share: float = 1.0
    ) -> None:
        require_positive("reach", reach)
        if not 0 < share <= 1:
            msg = f"share must be > 0 and at most 1, got {share!r}"
            raise ValueError(msg)
        self.dimension, self.reach, self.share = dimension, reach, share
        self.network = copy.deepcopy(network).to("cpu", torch.float64).requires_grad_(False)
        generator = torch.Generator().manual_seed(0)
        points = self._normal(1000, generator)
        slope = slopes(self.network, points)
        off = (slope - 1).abs()
        if off.max() > 1e-4:
            msg = f"network must have slope 1 almost everywhere, got {slope[off.argmax()].item()}"
            raise ValueError(msg)

    @classmethod
    def draw(cls, dimension: int, *, units: int = 32, seed: int = 0) -> NetworkPair:
        """A `MinMaxTree` with random rows and biases N(0, 1)."""
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(seed)
            tree = MinMaxTree(dimension, units)
            torch.nn.init.normal_(tree.bias)
        return cls(tree, dimension)

    def p(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points (n, D) of P."""
        return self._normal(n, generator).float()

    def plan(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs (x, T(x))."""
        x = self._normal(n, generator)
        return x.float(), self.move(x).float()

    def _normal(self, n: int, generator: torch.Generator) -> Tensor:
        shape = n, self.dimension
        return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)

    @torch.no_grad()
    def move(self, x: Tensor) -> Tensor:
        """The optimal map T from P to Q, for points (n, D)."""
        x = x.double()
        down, start = -self.gradient(x), self.potential(x)
        valid = torch.zeros_like(start)
        tried = torch.full_like(start, self.reach)
        step = tried / 2
        for _ in range(_HALVINGS):
            fallen = start - self.potential(x + tried[:, None] * down)
            holds = fallen >= tried * (1 - 1e-9) - 1e-12
            valid = torch.where(holds, tried, valid)
            tried = torch.where(holds, (tried + step).clamp(max=self.reach), tried - step)
            step = step / 2
        return x + (self.share * valid)[:, None] * down

    def potential(self, x: Tensor) -> Tensor:
        """The network's values (n,)."""
        with torch.no_grad():
            values: Tensor = self.network.to(x.device)(x.double())
        return values.to(x.dtype)

    def gradient(self, x: Tensor) -> Tensor:
        """The network's gradient (n, D)."""
        points = x.detach().double().requires_grad_()
        with torch.enable_grad():
            values = self.network.to(x.device)(points)
            (gradient,) = torch.autograd.grad(values.sum(), points)
        return gradient.to(x.dtype)
