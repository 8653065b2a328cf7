"""A run folder: which files are a run's, whose settings they belong to, and a fresh start."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from kantorch.training._yaml import dump_yaml, load_yaml
from kantorch.training.datasets import format_of
from kantorch.training.datasets.formats import disk_of
from kantorch.training.errors import RunError
from kantorch.training.files import TEMPORARY, system_path, write_atomic
from kantorch.training.settings import difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CONFIG = "config.yaml"
TEST = "test.json"
RECORD = "record.json"
WEIGHTS = "weights.pt"
LAST = "last.ckpt"
TRIALS = "trials"
LOGS = "logs"

# What a run goes on from: from here numbers get into its tables.
RECORDS = (
    TEST,
    *(f"{TRIALS}/{depth}/{name}" for depth in ("*", "*/*") for name in (RECORD, WEIGHTS, LAST)),
)
# What every run leaves to read, besides its driver's pictures.
OUTPUTS = (
    "metrics.csv",
    "results.csv",
    "differences.csv",
    "report.md",
    *(
        f"{LOGS}/{depth}/{name}"
        for depth in ("*", "*/*")
        for name in ("events.out.tfevents.*", "hparams.yaml")
    ),
)


def digest(setting: str, name: str) -> str:
    """Return the SHA-256 of a file that a setting names; of a data set, of its files' names and sizes.

    Raises:
        RunError: If it cannot be read.
    """
    try:
        if format_of(name) is not None:
            return _listing(disk_of(name).folder)
        return hashlib.sha256(system_path(name).read_bytes()).hexdigest()
    except (OSError, ValueError) as error:  # ValueError: no name of a file
        reason = getattr(error, "strerror", None) or error
        msg = f"cannot read the {setting} {name}: {reason}"
        raise RunError(msg) from error


def _listing(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            found.update(f"{name}\0{path.stat().st_size}\n".encode(errors="surrogateescape"))
    return found.hexdigest()


def open_folder(
    folder: Path, wanted: Mapping[str, Any], pictures: Sequence[str] = (), *, force: bool
) -> None:
    """Check that a folder is new or holds a run of these settings; with `force`, start it afresh.

    Args:
        folder: The run folder, locked by this process.
        wanted: Everything that results depend on and that must not change when a run is resumed.
        pictures: Files that the run's driver draws.
        force: Remove every record and every output of a run of other, or of unknown, settings.

    Raises:
        RunError: If the folder holds a run of other, or of unknown, settings, or, even with `force`,
            of another driver; if a file cannot be removed or written.
    """
    path = folder / CONFIG
    if not _same(folder, wanted, force=force):
        # The settings go last: killed in between, the folder is still that of the old run.
        _remove(folder, (*RECORDS, *OUTPUTS, *pictures))
        _remove(folder, (CONFIG,))
    remove_partial(folder, pictures)
    if not path.exists():
        write_atomic(path, dump_yaml(wanted).encode())


def _same(folder: Path, wanted: Mapping[str, Any], *, force: bool) -> bool:
    """Tell whether the folder is new or of these settings; another one is refused, or False."""
    path = folder / CONFIG
    if not path.exists():
        started = next((found for name in RECORDS for found in folder.glob(name)), None)
        if started is None or force:
            return started is None
        msg = (
            f"{folder} holds {started.relative_to(folder)} but no {CONFIG}, so its settings are "
            "unknown: choose another --output, or start afresh with --force"
        )
        raise RunError(msg)
    try:
        known = load_yaml(path)
    except RunError:
        if force:
            return False
        raise
    if known.get("driver") != wanted.get("driver"):
        # Whose files this run does not know, and could not remove.
        msg = (
            f"{folder} holds a run of another driver: {known.get('driver', 'unknown')} -> "
            f"{wanted.get('driver')}; choose another --output"
        )
        raise RunError(msg)
    changes = difference(known, wanted)
    if changes and not force:
        listed = "\n  ".join(changes)
        msg = (
            f"{folder} holds a run with other settings:\n  {listed}\n"
            "choose another --output, or start afresh with --force"
        )
        raise RunError(msg)
    return not changes


def remove_partial(folder: Path, pictures: Sequence[str] = ()) -> None:
    """Remove what a killed run left half written; other files of that suffix are not a run's."""
    names = (CONFIG, *RECORDS, *OUTPUTS, *pictures)
    _remove(folder, [f"{name}{TEMPORARY}" for name in names if not name.startswith(LOGS)])


def _remove(folder: Path, names: tuple[str, ...] | list[str]) -> None:
    """Remove a run's own files; a folder may hold others, which stay."""
    for name in names:
        for path in list(folder.glob(name)):
            try:
                path.unlink()
            except OSError as error:
                msg = f"cannot remove {path}: {error.strerror or error}"
                raise RunError(msg) from error
