"""All examples of some data, out of which tasks are cut: arrays in memory, or images on a disk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import TensorDataset

from kantorch.training.datasets import format_of, read_images
from kantorch.training.views import LazyImages, View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from kantorch.training.datasets import ImageSet
    from kantorch.training.images import Examples

    Members = dict[int, NDArray[np.int64]]


class ArrayBank:
    """Examples in memory.

    Args:
        examples: The arrays.
        like: Places of the examples whose mean and deviation are brought to 0 and 1.

    Attributes:
        names: The label of each class by its name.
        parts: Of the authors; None: there are none.
        groups: The manufacturer of each class; empty: there are none.
    """

    parts: NDArray[np.int8] | None = None
    groups: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it

    def __init__(self, examples: Examples) -> None:
        self.examples = examples
        self.labels = examples.labels
        self.names = {str(label): int(label) for label in np.unique(examples.labels)}
        self.in_channels = examples.images.shape[1]
        self.outputs = None if examples.targets is None else examples.targets.shape[1]

    def standardise(self, places: Sequence[NDArray[np.int64]], like: ArrayBank) -> None:
        """Bring these examples of a bank to mean 0 and deviation 1, and all of this one alike."""
        found = like.examples.images[np.concatenate(list(places))]
        mean, deviation = float(found.mean()), max(float(found.std()), 1e-12)
        self._images = torch.from_numpy((self.examples.images - mean) / deviation).float()

    @cached_property
    def _targets(self) -> torch.Tensor | None:
        targets = self.examples.targets
        if targets is None:
            return None
        spread = np.maximum(targets.std(0), 1e-12)
        return torch.from_numpy((targets - targets.mean(0)) / spread).float()

    def dataset(
        self, members: Sequence[NDArray[np.int64]], classes: Sequence[int]
    ) -> TensorDataset:
        """These examples, with labels from 0, or their targets."""
        index = np.concatenate(list(members))
        chosen = torch.from_numpy(index)
        if self._targets is not None:
            return TensorDataset(self._images[chosen], self._targets[chosen])
        labels = torch.tensor(_places(self.labels[index], classes))
        return TensorDataset(self._images[chosen], labels)


class ImageBank:
    """Images on a disk.

    Args:
        images: The set.
        view: How they are looked at.
        groups: See `ArrayBank`, as for the other attributes.
    """

    in_channels = 3
    outputs: int | None = None

    def __init__(self, images: ImageSet, view: View, groups: dict[str, str]) -> None:
        self.images = images
        self.view = view
        self.labels = images.labels
        self.names = {name: label for label, name in enumerate(images.names)}
        self.parts = images.parts
        self.groups = groups

    def dataset(self, members: Sequence[NDArray[np.int64]], classes: Sequence[int]) -> LazyImages:
        """These images, with labels from 0."""
        index = np.concatenate(list(members))
        labels = _places(self.labels[index], classes)
        return LazyImages(self.images, index.tolist(), labels, self.view)


Bank = ArrayBank | ImageBank


@dataclass(frozen=True)
class Sizes:
    """What the settings say of the size of images; None: what the data have by custom."""

    size: int | None
    resize: int | None
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def view(self, data: str) -> View:
        """How images of some data are looked at."""
        small = data.startswith("cifar")
        size = self.size or (32 if small else 224)
        usual = None if small else round(size * 8 / 7)  # 256 for 224
        return View(self.resize or usual, size, self.mean, self.deviation)


def image_bank(data: str, sizes: Sizes) -> ImageBank:
    """Read the lists of a data set that is named FORMAT:PATH.

    Raises:
        RunError: If a file is missing or damaged.
    """
    assert format_of(data) is not None
    groups = {}
    if data.partition(":")[0] == "aircraft":
        from kantorch.training.datasets.fine_grained import makers
        from kantorch.training.datasets.formats import disk_of

        groups = makers(disk_of(data))
    return ImageBank(read_images(data), sizes.view(data), groups)


def members_of(bank: Bank, part: Sequence[int] | None = None) -> Members:
    """The places of each label's examples; of some of the authors' parts alone."""
    inside = np.ones(len(bank.labels), dtype=bool)
    if part is not None and bank.parts is not None:
        inside = np.isin(bank.parts, part)
    return {label: np.flatnonzero(inside & (bank.labels == label)) for label in bank.names.values()}


def _places(labels: NDArray[np.int64], classes: Sequence[int]) -> list[int]:
    position = {label: place for place, label in enumerate(classes)}
    return [position[int(label)] for label in labels]
