"""Where samples come from: a function of a count and a generator, or a finite set of points."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Sampler = Callable[[int, torch.Generator], Tensor]
"""Takes n and a generator, returns (n, D): independent samples that the generator decides."""


def as_sampler(name: str, source: Sampler | Tensor) -> Sampler:
    """A sampler, made from points (N, D) by drawing with replacement.

    Raises:
        ValueError: If the points are not a matrix, or one is not finite; it is named.

    >>> import torch
    >>> points = torch.arange(6.0).reshape(3, 2)
    >>> as_sampler("p", points)(4, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 2])
    """
    if not isinstance(source, Tensor):
        return source
    points = source.detach()
    if points.ndim != 2 or points.numel() == 0 or not points.is_floating_point():
        msg = f"{name} must have shape (N, D), not be empty, and be floating, got {tuple(points.shape)} {points.dtype}"
        raise ValueError(msg)
    bad = (~points.isfinite()).nonzero()
    if len(bad):
        i, j = bad[0].tolist()
        msg = f"{name} must be finite: {name}[{i}, {j}] = {points[i, j].item()}"
        raise ValueError(msg)

    def draw(n: int, generator: torch.Generator) -> Tensor:
        index = torch.randint(len(points), (n,), generator=generator, device=points.device)
        return points[index]

    return draw
