"""Labelled images: the bundled digits, or an .npz file of one's own, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kantorch.training.errors import ConfigError, RunError
from kantorch.training.files import system_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DIGITS = "digits"

# Grey, grey with opacity, colour, colour with opacity: an axis this short is one of channels.
_FEW = 4
# What is left of an image when the network has halved it must not be empty.
_SMALLEST = 2


def load_images(data: str, layout: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read labelled images.

    Args:
        data: "digits", or an .npz file with `images` and `labels`.
        layout: Of images with channels in the file: "channels_first", "channels_last", or "auto",
            which goes by the one axis that is short enough for channels.

    Returns:
        Images (N, channels, height, width) and labels (N,).

    Raises:
        RunError: If the file cannot be read or holds something else.
        ConfigError: If the shape of the images leaves their layout open.
    """
    if data == DIGITS:
        from sklearn.datasets import load_digits

        bundle = load_digits()
        return bundle.images[:, None].astype(np.float64), bundle.target.astype(np.int64)
    try:
        path = system_path(data)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"]
    except Exception as error:
        # NumPy lets errors of zip and zlib pass, and `with` those of a file that is one array.
        msg = (
            f"data must be {DIGITS!r} or an .npz file with the arrays 'images' and 'labels', "
            f"got {data!r}: {error}"
        )
        raise RunError(msg) from error
    _require_labelled_images(path, images, labels)
    given = images.shape
    images = _channels_first(path, images, layout)
    if min(images.shape[2:]) < _SMALLEST:
        msg = f"{path}: images must have at least {_SMALLEST} x {_SMALLEST} pixels, got {given}"
        raise RunError(msg)
    images = images.astype(np.float64)
    if not np.isfinite(images).all():
        msg = f"{path} must hold finite images"
        raise RunError(msg)
    return images, labels.astype(np.int64)


def _require_labelled_images(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    numbers = images.dtype.kind in "biuf" and labels.dtype.kind in "iu"
    if images.ndim not in (3, 4) or images.size == 0 or not numbers:
        valid = False
    else:
        valid = labels.shape == images.shape[:1]
    if not valid:
        msg = (
            f"{path} must hold images (N, height, width), (N, channels, height, width) or "
            "(N, height, width, channels), real, and integer labels (N,), got "
            f"{images.shape} {images.dtype} and {labels.shape} {labels.dtype}"
        )
        raise RunError(msg)
    if labels.max() > np.iinfo(np.int64).max:
        msg = f"{path} must hold labels within int64, got {labels.max()}"
        raise RunError(msg)


def _channels_first(path: Path, images: np.ndarray, layout: str) -> np.ndarray:
    if images.ndim == 3:
        return images[:, None]
    if layout == "auto":
        first, last = images.shape[1] <= _FEW, images.shape[3] <= _FEW
        if first == last:
            msg = (
                f"{path}: images of shape {images.shape} may have their channels first or last: "
                "set image_layout to channels_first, for (N, channels, height, width), or to "
                "channels_last, for (N, height, width, channels)"
            )
            raise ConfigError(msg)
        layout = "channels_first" if first else "channels_last"
    # A contiguous copy: sums over the images must not depend on the file's layout.
    return images if layout == "channels_first" else np.moveaxis(images, 3, 1).copy()
