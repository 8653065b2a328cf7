"""Labelled images that are read when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kantorch.training.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TRAIN, VALIDATION, TEST = 0, 1, 2


@dataclass(frozen=True)
class ImageSet:
    """Images with their classes and, where the authors made them, their parts.

    Attributes:
        items: Files, or an array (N, height, width, 3) of bytes.
        labels: (N,), places in `names`.
        names: Of the classes.
        parts: (N,), TRAIN, VALIDATION or TEST. None: the authors made no parts.
    """

    items: Sequence[Path] | NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    parts: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, place: int) -> Image.Image:
        """Decode one image, as colours.

        Raises:
            RunError: If its file is damaged; the message names it.
        """
        item = self.items[place]
        if isinstance(item, np.ndarray):
            return Image.fromarray(item)
        try:
            with Image.open(item) as file:
                return file.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            msg = f"cannot read the image {item}: {error}"
            raise RunError(msg) from error


def labelled(
    found: Sequence[tuple[Path, str, int]], names: Sequence[str], *, parts: bool = True
) -> ImageSet:
    """A set of files, each with its class and part."""
    place = {name: k for k, name in enumerate(names)}
    return ImageSet(
        [path for path, _, _ in found],
        np.array([place[name] for _, name, _ in found], dtype=np.int64),
        tuple(names),
        np.array([part for _, _, part in found], dtype=np.int8) if parts else None,
    )
