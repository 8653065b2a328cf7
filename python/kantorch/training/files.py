"""Files that are either whole or absent: written aside, synchronised, then renamed."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from kantorch.training.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPORARY = ".partial"


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step that a crash cannot split.

    Raises:
        RunError: If the folder cannot be written or the disk is full; the old file is intact.
    """
    aside = path.with_name(f"{path.name}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        _discard(aside)
        reason = error.strerror or error
        msg = f"cannot write {path} ({len(content)} bytes): {reason}; its old content is intact"
        raise RunError(msg) from error


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the folder is gone or read-only: the write's own error says so


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    if os.name == "nt":  # which cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unicode_name(name: str) -> str:
    """Return a file's name as text, the same in every locale, where it is UTF-8 on the disk.

    A name that comes from the system in an ASCII locale holds its bytes as lone surrogates.
    """
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def system_path(name: str) -> Path:
    """Return the path of a name that stands in settings, which are UTF-8 in every locale."""
    return Path(os.fsdecode(name.encode("utf-8", "surrogateescape")))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically."""
    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a file that is damaged is an error that names it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"cannot read {path}: {error}; delete it to compute it again"
        raise RunError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} must hold a JSON object, got {type(content).__name__}; delete it"
        raise RunError(msg)
    return content


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically, as `torch.save` does."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_atomic(path, buffer.getvalue())


def read_tensors(
    path: Path, map_location: Any = "cpu", cure: str = "delete it to repeat this part"
) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain data only, with its checksums verified.

    Args:
        path: The file.
        map_location: As `torch.load` takes it.
        cure: What is to be done if that fails, for the message.

    Raises:
        RunError: If the file is missing, truncated, damaged, or holds code.
    """
    try:
        # torch.save makes a zip archive with a CRC-32 per record, which torch.load does not check.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            msg = f"record {damaged} has a wrong checksum"
            raise zipfile.BadZipFile(msg)
        content = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:
        # Whatever a hostile or broken file makes torch raise, the user's next step is the same.
        msg = (
            f"cannot read checkpoint {path}: {type(error).__name__}: {_first_line(error)}; "
            f"it is damaged or not a checkpoint: {cure}"
        )
        raise RunError(msg) from error
    if not isinstance(content, dict):
        msg = f"checkpoint {path} must hold a dictionary, got {type(content).__name__}; {cure}"
        raise RunError(msg)
    return content


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "for no reason that it gives")
