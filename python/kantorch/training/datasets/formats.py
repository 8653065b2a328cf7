"""The formats by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kantorch.training.datasets import cifar, fine_grained, folders
from kantorch.training.datasets.disk import Disk
from kantorch.training.files import system_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from kantorch.training.datasets.image_set import ImageSet


@dataclass(frozen=True)
class Format:
    """How a data set lies on disk.

    Attributes:
        read: Reads it.
        folder: The data set's own folder below torchvision's `root`; empty: the root itself.
        fix: How to get it.
        overlaps: Whether its test part holds images that ImageNet trains on.
    """

    read: Callable[[Disk], ImageSet]
    folder: str
    fix: str
    overlaps: bool = False


def _download(name: str) -> str:
    return (
        f"torchvision.datasets.{name}(root, download=True) fetches it, and root is what stands "
        "after the colon"
    )


_BIRDS = "unpack the archive of CUB-200-2011 there"
_DOGS = "unpack images.tar and lists.tar of Stanford Dogs there"
_FOLDER = "put the images there, in a folder for each class"
_AIRCRAFT = _download("FGVCAircraft"), "fgvc-aircraft-2013b"

FORMATS = {
    "folder": Format(folders.read_folder, "", _FOLDER),
    "cifar10": Format(cifar.read_cifar10, "cifar-10-batches-py", _download("CIFAR10")),
    "cifar100": Format(cifar.read_cifar100, "cifar-100-python", _download("CIFAR100")),
    **{
        name: Format(fine_grained.aircraft(level), _AIRCRAFT[1], _AIRCRAFT[0])
        for name, level in (
            ("aircraft", "variant"),
            ("aircraft-family", "family"),
            ("aircraft-manufacturer", "manufacturer"),
        )
    },
    "cub": Format(fine_grained.read_cub, "CUB_200_2011", _BIRDS),
    "cars": Format(
        fine_grained.read_cars,
        "stanford_cars",
        "unpack Stanford Cars there as torchvision.datasets.StanfordCars wants it, with "
        "cars_test_annos_withlabels.mat",
    ),
    "dogs": Format(fine_grained.read_dogs, "", _DOGS, overlaps=True),
    "food101": Format(fine_grained.read_food, "food-101", _download("Food101")),
    "caltech101": Format(
        folders.read_caltech, "caltech101/101_ObjectCategories", _download("Caltech101")
    ),
    "caltech256": Format(
        folders.read_caltech, "caltech256/256_ObjectCategories", _download("Caltech256")
    ),
}


def format_of(data: str) -> Format | None:
    """The format of a data set that is named FORMAT:PATH; None: it is not named so."""
    name, colon, path = data.partition(":")
    return FORMATS.get(name) if colon and path else None


def disk_of(data: str) -> Disk:
    """The folder of a data set that is named FORMAT:PATH."""
    kind = FORMATS[data.partition(":")[0]]
    root = system_path(data.partition(":")[2])
    inside = kind.folder.split("/") if kind.folder else []
    own = not inside or list(root.parts[-len(inside) :]) == inside
    return Disk(root if own else root.joinpath(*inside), data, kind.fix)


def read_images(data: str) -> ImageSet:
    """Read the lists of a data set that is named FORMAT:PATH; its images are read later.

    Raises:
        RunError: If a file is missing or damaged; the message names it and how to get it.
    """
    disk = disk_of(data)
    if not disk.folder.is_dir():
        msg = f"the folder {disk.folder} is missing"
        raise disk.error(msg)
    return FORMATS[data.partition(":")[0]].read(disk)
