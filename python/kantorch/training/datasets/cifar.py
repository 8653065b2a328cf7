"""CIFAR's batches: pickles, of which only arrays, lists and texts are read."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from kantorch.training.datasets.image_set import TEST, TRAIN, ImageSet

if TYPE_CHECKING:
    from kantorch.training.datasets.disk import Disk

# What a pickled array needs, under NumPy's names of 2009 and of today.
_ARRAYS = {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")} | {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _Data(pickle.Unpickler):
    """An unpickler that makes nothing but data."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse everything that is no part of an array."""
        if (module, name) not in _ARRAYS:
            msg = f"it asks for {module}.{name}, which is no data"
            raise pickle.UnpicklingError(msg)
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _load(disk: Disk, name: str) -> dict[str, Any]:
    path = disk.path(name)
    try:
        content = _Data(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:  # whatever a broken or hostile file makes pickle raise
        msg = f"cannot read {path}: {type(error).__name__}: {error}"
        raise disk.error(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} must hold a dictionary, got {type(content).__name__}"
        raise disk.error(msg)
    return content


def _read(disk: Disk, batches: dict[str, int], labels: str, meta: str, names: str) -> ImageSet:
    images, places, parts = [], [], []
    known = _load(disk, meta).get(names)
    if not isinstance(known, list):
        msg = f"{disk.folder / meta} must hold {names}"
        raise disk.error(msg)
    for name, part in batches.items():
        batch = _load(disk, name)
        pixels, found = batch.get("data"), batch.get(labels)
        rule = f"must hold data (N, 3072) of bytes and N {labels} below {len(known)}"
        if not isinstance(pixels, np.ndarray) or not isinstance(found, list):
            msg = f"{disk.folder / name} {rule}"
            raise disk.error(msg)
        valid = pixels.shape == (len(found), 3072) and pixels.dtype == np.uint8
        if not valid or not all(isinstance(x, int) and 0 <= x < len(known) for x in found):
            msg = f"{disk.folder / name} {rule}"
            raise disk.error(msg)
        images.append(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        places += found
        parts += [part] * len(found)
    return ImageSet(
        np.ascontiguousarray(np.concatenate(images)),
        np.array(places, dtype=np.int64),
        tuple(map(str, known)),
        np.array(parts, dtype=np.int8),
    )


def read_cifar10(disk: Disk) -> ImageSet:
    """Five batches to train on, one for the test."""
    batches = {f"data_batch_{k}": TRAIN for k in range(1, 6)} | {"test_batch": TEST}
    return _read(disk, batches, "labels", "batches.meta", "label_names")


def read_cifar100(disk: Disk) -> ImageSet:
    """A hundred classes."""
    batches = {"train": TRAIN, "test": TEST}
    return _read(disk, batches, "fine_labels", "meta", "fine_label_names")
