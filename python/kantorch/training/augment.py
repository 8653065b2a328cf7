"""Augmentation whose draws are a function of the step alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def shift_images(images: Tensor, reach: int, key: Sequence[int]) -> Tensor:
    """Move each image by up to `reach` pixels each way; borders are filled with its minimum.

    Args:
        images: (n, channels, height, width).
        reach: At least 0.
        key: Numbers that determine the draw.
    """
    if reach == 0:
        return images
    n, channels, height, width = images.shape
    # Drawn on the CPU, so that every device sees the same images.
    generator = torch.Generator().manual_seed(_mix(key))
    offset = torch.randint(0, 2 * reach + 1, (2, n), generator=generator).to(images.device)
    padded = functional.pad(images, (reach,) * 4, value=float("-inf"))
    padded = torch.where(padded.isinf(), images.amin(dim=(1, 2, 3), keepdim=True), padded)
    rows = offset[0][:, None] + torch.arange(height, device=images.device)
    columns = offset[1][:, None] + torch.arange(width, device=images.device)
    example = torch.arange(n, device=images.device)
    channel = torch.arange(channels, device=images.device)
    return padded[
        example[:, None, None, None],
        channel[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def _mix(key: Sequence[int]) -> int:
    """Fold a few numbers into a seed; neighbouring keys must not share draws."""
    seed = 0
    for number in key:
        seed = (seed * 1_000_003 + number + 1) % (2**63)
    return seed
