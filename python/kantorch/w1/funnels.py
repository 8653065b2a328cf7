"""The benchmark of funnels: a uniform law and one that flows down to the centres of funnels."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kantorch._check import require_choice
from kantorch.w1.pair import Pair

BOX = 2.5
POWER = 8


class FunnelPair(Pair):
    """Q uniform on a box, P its image as every point moves down a minimum of funnels.

    u(x) = min_n |x - a_n| + b_n has slope 1. A point x of the n-th funnel moves on the ray from a_n
    through x. On it u grows with slope 1 from a_n to where the ray leaves the box or another funnel
    is lower; a point at a share t of this segment goes to the share t^power. So
    u(x) - u(T(x)) = |x - T(x)|, which makes T optimal and f = -u a potential of P.

    Args:
        centres: a (N, D), inside the box.
        heights: b (N,).
        box: The box is [-box, box]^D.
        power: At least 1; 1 moves nothing.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        Korotin, Kolesov, Burnaev, Kantorovich strikes back!, NeurIPS 2022; Santambrogio, Optimal
        transport for applied mathematicians, lemma 3.2.

    >>> import torch
    >>> pair = FunnelPair(torch.zeros(1, 1), torch.zeros(1), box=1.0, power=2.0)
    >>> w1 = pair.w1(10_000)  # the mean of t - t^2 is 1/6
    >>> abs(w1.value - 1 / 6) < 5 * w1.standard_error
    True
    """

    def __init__(
        self, centres: Tensor, heights: Tensor, *, box: float = BOX, power: float = POWER
    ) -> None:
        if centres.ndim != 2 or centres.numel() == 0 or heights.shape != centres.shape[:1]:
            msg = (
                "centres and heights must have shapes (N, D) and (N,), got "
                f"{tuple(centres.shape)} and {tuple(heights.shape)}"
            )
            raise ValueError(msg)
        if not 1 <= power <= sys.float_info.max:
            msg = f"power must be finite and >= 1, got {power!r}"
            raise ValueError(msg)
        outside = (~(centres.abs() <= box)).nonzero()
        if len(outside):
            i, j = outside[0].tolist()
            msg = f"centres must lie in the box [-{box}, {box}]^D: centres[{i}, {j}] = {centres[i, j].item()}"
            raise ValueError(msg)
        unknown = (~heights.isfinite()).nonzero()
        if len(unknown):
            i = int(unknown[0])
            msg = f"heights must be finite: heights[{i}] = {heights[i].item()}"
            raise ValueError(msg)
        self.centres = centres.detach().double()
        self.heights = heights.detach().double()
        self.dimension = centres.shape[1]
        self.box, self.power = box, power

    @classmethod
    def draw(cls, dimension: int, funnels: int, *, seed: int = 0) -> FunnelPair:
        """Funnels of the benchmark's laws: centres uniform on the box, heights N(0, 0.01)."""
        generator = torch.Generator().manual_seed(seed)
        with torch.device("cpu"):
            centres = torch.rand(funnels, dimension, generator=generator, dtype=torch.float64)
            heights = torch.randn(funnels, generator=generator, dtype=torch.float64)
        return cls(BOX * (2 * centres - 1), 0.1 * heights)

    @classmethod
    def published(cls, dimension: int, funnels: int) -> FunnelPair:
        """The very pairs of the benchmark, to four decimals.

        Args:
            dimension: 2, 4, 8, 16, 32, 64 or 128.
            funnels: 4, 16, 64 or 256.

        Raises:
            ValueError: If there is no such pair.

        >>> FunnelPair.published(2, 4).dimension
        2
        """
        require_choice("dimension", str(dimension), ("2", "4", "8", "16", "32", "64", "128"))
        require_choice("funnels", str(funnels), ("4", "16", "64", "256"))
        with np.load(Path(__file__).with_name("funnels.npz"), allow_pickle=False) as stored:
            centres, heights = (
                torch.from_numpy(stored[f"{name}_{dimension}_{funnels}"].astype(np.float64) / 1e4)
                for name in ("centres", "heights")
            )
        return cls(centres, heights)

    def q(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n points (n, D) of Q."""
        return self._uniform(n, generator).float()

    def plan(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs (T(y), y)."""
        y = self._uniform(n, generator)
        return self.move(y).float(), y.float()

    def _uniform(self, n: int, generator: torch.Generator) -> Tensor:
        shape = n, self.dimension
        uniform = torch.rand(
            shape, generator=generator, dtype=torch.float64, device=generator.device
        )
        return self.box * (2 * uniform - 1)

    def move(self, y: Tensor) -> Tensor:
        """The optimal map T from Q to P, for points (n, D) of the box."""
        centres, heights = self.centres.to(y), self.heights.to(y)
        distances = self._distances(y)
        level, funnel = (distances + heights).min(1)
        low = centres[funnel]
        radius = distances.gather(1, funnel[:, None])
        ray = (y - low) / radius.clamp(min=torch.finfo(y.dtype).tiny)
        # Where the ray leaves the box.
        exits = (self.box * ray.sign() - y) / ray
        beyond = exits.masked_fill(ray == 0, math.inf).amin(1).clamp(min=0)
        # Where another funnel is as low: |x + r v - a| = u + r - b, solved for r.
        above = level[:, None] - heights
        along = (y * ray).sum(1, keepdim=True) - ray @ centres.T
        meets = (distances.square() - above.square()) / (2 * (above - along))
        own = torch.nn.functional.one_hot(funnel, len(centres)).bool()
        never = own | ~(meets > 0) | ~(meets > -above)
        beyond = torch.minimum(beyond, meets.masked_fill(never, math.inf).amin(1))[:, None]
        length = radius + beyond
        share = radius / length
        # A centre has no ray and stays.
        reached = torch.where(radius > 0, length * share**self.power, radius)
        moved: Tensor = low + ray * reached
        return moved

    def potential(self, x: Tensor) -> Tensor:
        """-u (n,)."""
        return -(self._distances(x) + self.heights.to(x)).amin(1)

    def gradient(self, x: Tensor) -> Tensor:
        """-grad u (n, D): from the point to the centre of its funnel."""
        funnel = (self._distances(x) + self.heights.to(x)).argmin(1)
        return torch.nn.functional.normalize(self.centres.to(x)[funnel] - x, dim=1)

    def _distances(self, x: Tensor) -> Tensor:
        exactly = "donot_use_mm_for_euclid_dist"
        return torch.cdist(x, self.centres.to(x), compute_mode=exactly)
