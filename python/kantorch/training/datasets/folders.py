"""Images in a folder for each class, as one set or cut into train, val and test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kantorch.training.datasets.image_set import TEST, TRAIN, VALIDATION, ImageSet, labelled

if TYPE_CHECKING:
    from pathlib import Path

    from kantorch.training.datasets.disk import Disk

PARTS = {"train": TRAIN, "val": VALIDATION, "valid": VALIDATION, "test": TEST}
BACKGROUND = "BACKGROUND_Google"  # Caltech-101's images of anything


def read_folder(disk: Disk) -> ImageSet:
    """PATH/train/CLASS, PATH/test/CLASS and, if there is one, PATH/val/CLASS; or PATH/CLASS alone."""
    inside = disk.folders()
    parts = [folder for folder in inside if folder.name in PARTS]
    if not parts:
        return classes(disk, inside)
    if {f.name for f in parts} >= {"val", "valid"} or "train" not in {f.name for f in parts}:
        msg = f"{disk.folder} must hold train and test, and may hold val"
        raise disk.error(msg)
    if "test" not in {folder.name for folder in parts}:
        msg = f"{disk.folder / 'test'} is missing"
        raise disk.error(msg)
    names = [folder.name for folder in disk.folders("train")]
    found = []
    for part in parts:
        for folder in disk.folders(part.name):
            if folder.name not in names:
                msg = f"{folder} must be a class of {disk.folder / 'train'}"
                raise disk.error(msg)
            found += [(path, folder.name, PARTS[part.name]) for path in disk.images(folder)]
    return labelled(found, names)


def classes(disk: Disk, folders: list[Path]) -> ImageSet:
    """A folder for each class, without parts."""
    if len(folders) < 2:
        msg = f"{disk.folder} must hold a folder for each of two or more classes"
        raise disk.error(msg)
    found = [(path, folder.name, TRAIN) for folder in folders for path in disk.images(folder)]
    return labelled(found, [folder.name for folder in folders], parts=False)


def read_caltech(disk: Disk) -> ImageSet:
    """Caltech-101 or Caltech-256, which have no parts, without the class of anything else."""
    inside = disk.folders()
    wanted = [f for f in inside if f.name != BACKGROUND and not f.name.startswith("257.")]
    return classes(disk, wanted)
