"""One run per folder: a lock that the operating system releases when its holder dies."""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kantorch.training.errors import RunError

try:
    import fcntl
except ImportError:  # pragma: no cover - not on this platform
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

NAME = "run.lock"


@contextmanager
def folder_lock(folder: Path, *, force: bool = False) -> Iterator[str | None]:
    """Hold the lock of a run folder.

    The file names the holder's host and process; `flock` decides whether it lives, so that a
    recycled process id cannot be mistaken for it. The kernel knows only its own host: a lock of
    another host, or one that cannot be read, counts as held, unless `force`.

    Args:
        folder: The run folder; made if absent.
        force: Take over a lock that another host left, or one that cannot be read.

    Yields:
        A remark if a lock was left behind by a run that died, else None.

    Raises:
        RunError: If another run holds the lock, or the folder cannot be written or locked.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        msg = f"cannot write the output folder {folder}: {error.strerror or error}"
        raise RunError(msg) from error
    with os.fdopen(descriptor, "r+b") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = (
                f"another run uses {folder}: {_name(_holder(file.read()))} (lock file {path}); "
                "wait for it or choose another --output"
            )
            raise RunError(msg) from error
        except OSError as error:  # of a network's file system without locks, say
            msg = f"cannot lock {path}: {error.strerror or error}; choose another --output"
            raise RunError(msg) from error
        holder = _holder(file.read())
        if holder is not None and holder.get("host") != socket.gethostname() and not force:
            msg = (
                f"{folder} is locked by {_name(holder)} (lock file {path}), and this host cannot "
                "tell whether that run lives; if it does not, repeat with --force-unlock"
            )
            raise RunError(msg)
        _write(file, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        try:
            yield None if holder is None else f"took over the stale lock of {_name(holder)}"
        finally:
            # Emptied, not deleted: a deleted file could be locked by one run and made by the next.
            _write(file, b"")


def _write(file: BinaryIO, content: bytes) -> None:
    file.seek(0)
    file.truncate()
    file.write(content)
    file.flush()


def _holder(content: bytes) -> dict[str, object] | None:
    """Return who wrote a lock file: None if nobody, empty if it cannot be read."""
    if not content.strip():
        return None
    try:
        found = json.loads(content)
    except ValueError:  # a UnicodeDecodeError, too
        return {}
    return found if isinstance(found, dict) and "host" in found else {}


def _name(holder: dict[str, object] | None) -> str:
    if not holder:
        return "an unknown process"
    return f"process {holder.get('pid', '?')} on host {holder['host']}"
