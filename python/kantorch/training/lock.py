"""One run per folder: a lock that the operating system releases when its holder dies."""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from kantorch.training.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "run.lock"
GUARD = f".{NAME}"


@contextmanager
def folder_lock(folder: Path, *, force: bool = False) -> Iterator[str | None]:
    """Hold the lock of a run folder.

    One file names the holder's host and process; the lock on the file beside it decides whether it
    lives, so that a recycled process id cannot be mistaken for it. The kernel knows only its own
    host: a lock of another host, or one that cannot be read, counts as held, unless `force`.

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
        path.touch()
    except OSError as error:
        msg = f"cannot write the output folder {folder}: {error.strerror or error}"
        raise RunError(msg) from error
    guard = FileLock(folder / GUARD, blocking=False)
    try:
        guard.acquire()
    except Timeout as error:
        msg = (
            f"another run uses {folder}: {_name(_holder(path))} (lock file {path}); "
            "wait for it or choose another --output"
        )
        raise RunError(msg) from error
    except (OSError, NotImplementedError) as error:  # of a network's file system without locks, say
        reason = getattr(error, "strerror", None) or error
        msg = f"cannot lock {path}: {reason}; choose another --output"
        raise RunError(msg) from error
    try:
        holder = _holder(path)
        if holder is not None and holder.get("host") != socket.gethostname() and not force:
            msg = (
                f"{folder} is locked by {_name(holder)} (lock file {path}), and this host cannot "
                "tell whether that run lives; if it does not, repeat with --force-unlock"
            )
            raise RunError(msg)
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        try:
            yield None if holder is None else f"took over the stale lock of {_name(holder)}"
        finally:
            path.write_text("")
    finally:
        guard.release()


def _holder(path: Path) -> dict[str, object] | None:
    """Return who wrote a lock file: None if nobody, empty if it cannot be read."""
    content = path.read_bytes()
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
