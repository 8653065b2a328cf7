"""Augmentation whose draws are a function of the step alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from kantorch._check import require_names
from kantorch.training.errors import ConfigError

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


class Augmentation:
    """Shifts, mirrors and blurs images, by draws that a key determines.

    Args:
        shift: Images move by up to this many pixels each way.
        kinds: "mirror": every second image, left to right. "blur": every second image.

    Raises:
        ConfigError: If kornia is needed and not installed.
    """

    def __init__(self, shift: int, kinds: Sequence[str] = ()) -> None:
        self.shift = shift
        self.kinds = tuple(kind for kind in KINDS if kind in require_names("augment", kinds))
        self._pipeline: Any = _pipeline(self.kinds) if self.kinds else None

    def __call__(self, images: Tensor, key: Sequence[int]) -> Tensor:
        """Return images (n, channels, height, width) changed, each by a draw of its own."""
        images = shift_images(images, self.shift, key)
        if self._pipeline is None:
            return images
        devices = [images.device] if images.is_cuda else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(_mix(key))
            changed: Tensor = self._pipeline(images)
        return changed


KINDS = "mirror", "blur"


def _pipeline(kinds: Sequence[str]) -> Any:
    # Of kornia, since torchvision draws once for a whole batch, and has to fit torch's build.
    try:
        from kornia import augmentation
    except ModuleNotFoundError as error:
        name = error.name
        msg = f"augment {kinds[0]} needs {name}, which is not installed: pip install kornia"
        raise ConfigError(msg) from error
    known = {
        "mirror": lambda: augmentation.RandomHorizontalFlip(p=0.5),
        "blur": lambda: augmentation.RandomGaussianBlur((5, 5), (0.1, 2.0), p=0.5),
    }
    return augmentation.AugmentationSequential(*(known[kind]() for kind in kinds))


def _mix(key: Sequence[int]) -> int:
    """Fold a few numbers into a seed; neighbouring keys must not share draws."""
    seed = 0
    for number in key:
        seed = (seed * 1_000_003 + number + 1) % (2**63)
    return seed
