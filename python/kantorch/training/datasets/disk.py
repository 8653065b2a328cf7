"""Files of a data set: what is missing or damaged is an error that says what to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kantorch.training.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Disk:
    """The folder of a data set.

    Attributes:
        folder: The data set's own.
        name: As the setting gives it.
        fix: How its files are got, for the message.
    """

    folder: Path
    name: str
    fix: str

    def error(self, fault: str) -> RunError:
        """The error that tells the data set, the fault and the fix."""
        return RunError(f"data {self.name!r}: {fault}; {self.fix}")

    def path(self, *parts: str) -> Path:
        """A file or folder that must be there."""
        path = self.folder.joinpath(*parts)
        if not path.exists():
            msg = f"{path} is missing"
            raise self.error(msg)
        return path

    def lines(self, *parts: str) -> list[str]:
        """The lines of a text file that hold something."""
        path = self.path(*parts)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            msg = f"cannot read {path}: {error}"
            raise self.error(msg) from error
        return [line.strip() for line in text.splitlines() if line.strip()]

    def pairs(self, *parts: str) -> list[tuple[str, str]]:
        """The lines of a text file, each cut at its first blank."""
        found = []
        for number, line in enumerate(self.lines(*parts), 1):
            first, blank, rest = line.partition(" ")
            if not blank:
                msg = f"{self.path(*parts)} must hold two words in line {number}, got {line!r}"
                raise self.error(msg)
            found.append((first, rest.strip()))
        return found

    def json(self, *parts: str) -> Any:
        """A JSON file."""
        path = self.path(*parts)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            msg = f"cannot read {path}: {error}"
            raise self.error(msg) from error

    def mat(self, *parts: str) -> dict[str, Any]:
        """A file of MATLAB's."""
        from scipy.io import loadmat

        path = self.path(*parts)
        try:
            found: dict[str, Any] = loadmat(path, squeeze_me=True)
        except Exception as error:  # whatever a broken file makes SciPy raise
            msg = f"cannot read {path}: {type(error).__name__}: {error}"
            raise self.error(msg) from error
        return found

    def folders(self, *parts: str) -> list[Path]:
        """The folders in a folder, by name."""
        return sorted(p for p in self.path(*parts).iterdir() if p.is_dir() and p.name[0] != ".")

    def images(self, folder: Path) -> list[Path]:
        """The images of a class, by name."""
        found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            msg = f"{folder} must hold images"
            raise self.error(msg)
        return found

    def require(self, paths: Iterable[Path]) -> None:
        """Refuse a list that names a file that is not there."""
        for path in paths:
            if not path.is_file():
                msg = f"{path} is missing"
                raise self.error(msg)
