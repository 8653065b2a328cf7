"""Planes, birds, cars, dogs and dishes: lists of files, as their authors publish them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kantorch.training.datasets.image_set import TEST, TRAIN, ImageSet, labelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from kantorch.training.datasets.disk import Disk

PLURALS = {"variant": "variants", "family": "families", "manufacturer": "manufacturers"}


def aircraft(level: str) -> Callable[[Disk], ImageSet]:
    """FGVC-Aircraft by variant, family or manufacturer; the authors' validation part trains, too."""

    def read(disk: Disk) -> ImageSet:
        names = disk.lines("data", f"{PLURALS[level]}.txt")
        found = []
        for part, place in (("trainval", TRAIN), ("test", TEST)):
            name = f"images_{level}_{part}.txt"
            for image, label in disk.pairs("data", name):
                if label not in names:
                    msg = f"{disk.folder / 'data' / name} names no {level}: {label!r}"
                    raise disk.error(msg)
                found.append((disk.folder / "data" / "images" / f"{image}.jpg", label, place))
        disk.require(path for path, _, _ in found)
        return labelled(found, names)

    return read


def makers(disk: Disk) -> dict[str, str]:
    """The manufacturer of every variant of FGVC-Aircraft."""
    found = {}
    for part in ("trainval", "test"):
        variants = dict(disk.pairs("data", f"images_variant_{part}.txt"))
        for image, maker in disk.pairs("data", f"images_manufacturer_{part}.txt"):
            found[variants[image]] = maker
    return found


def read_cub(disk: Disk) -> ImageSet:
    """CUB-200-2011."""
    names = dict(disk.pairs("classes.txt"))
    of_image = dict(disk.pairs("image_class_labels.txt"))
    trains = dict(disk.pairs("train_test_split.txt"))
    found = []
    for image, path in disk.pairs("images.txt"):
        if of_image.get(image) not in names or trains.get(image) not in ("0", "1"):
            msg = f"{disk.folder} must tell class and part of image {image} in its lists"
            raise disk.error(msg)
        part = TRAIN if trains[image] == "1" else TEST
        found.append((disk.folder / "images" / path, names[of_image[image]], part))
    disk.require(path for path, _, _ in found)
    return labelled(found, list(names.values()))


def read_dogs(disk: Disk) -> ImageSet:
    """Stanford Dogs; its lists may lie in a folder of their own, as in the archive."""
    found = []
    lists = "lists" if (disk.folder / "lists").is_dir() else "."
    for name, part in (("train_list.mat", TRAIN), ("test_list.mat", TEST)):
        content = disk.mat(lists, name)
        if "file_list" not in content:
            msg = f"{disk.folder / lists / name} must hold file_list"
            raise disk.error(msg)
        for path in np.atleast_1d(content["file_list"]):
            found.append((disk.folder / "Images" / str(path), str(path).partition("/")[0], part))
    disk.require(path for path, _, _ in found)
    return labelled(found, sorted({name for _, name, _ in found}))


def read_cars(disk: Disk) -> ImageSet:
    """Stanford Cars, with the labels of the test part."""
    names = [
        str(name) for name in np.atleast_1d(disk.mat("devkit", "cars_meta.mat")["class_names"])
    ]
    found = []
    for folder, listed, part in (
        ("cars_train", ("devkit", "cars_train_annos.mat"), TRAIN),
        ("cars_test", ("cars_test_annos_withlabels.mat",), TEST),
    ):
        for row in np.atleast_1d(disk.mat(*listed)["annotations"]):
            place = int(row["class"])
            if not 1 <= place <= len(names):
                msg = f"{disk.folder.joinpath(*listed)} must hold classes from 1, got {place}"
                raise disk.error(msg)
            path = disk.folder / folder / str(row["fname"])
            found.append((path, names[place - 1], part))
    disk.require(path for path, _, _ in found)
    return labelled(found, names)


def read_food(disk: Disk) -> ImageSet:
    """Food-101."""
    found = []
    for name, part in (("train", TRAIN), ("test", TEST)):
        for label, images in disk.json("meta", f"{name}.json").items():
            found += [(disk.folder / "images" / f"{path}.jpg", label, part) for path in images]
    disk.require(path for path, _, _ in found)
    return labelled(found, sorted({label for _, label, _ in found}))
