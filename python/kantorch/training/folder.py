"""A run folder: which files are a run's, whose settings they belong to, and a fresh start."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kantorch.training._yaml import dump_yaml, load_yaml
from kantorch.training.config import difference
from kantorch.training.errors import ConfigError, RunError
from kantorch.training.files import TEMPORARY, system_path, write_atomic
from kantorch.training.images import DIGITS

if TYPE_CHECKING:
    from kantorch.training.config import TransferConfig

CONFIG = "config.yaml"
TEST = "test.json"
RECORD = "record.json"
WEIGHTS = "weights.pt"
LAST = "last.ckpt"
SOURCE = "source"
TRIALS = "trials"
LOGS = "logs"

# What a run goes on from: from here numbers get into its tables.
RECORDS = (
    TEST,
    *(f"{SOURCE}/{name}" for name in (RECORD, WEIGHTS, LAST)),
    *(f"{TRIALS}/*/{name}" for name in (RECORD, WEIGHTS, LAST)),
)
# What it leaves to read.
OUTPUTS = (
    "metrics.csv",
    "results.csv",
    "report.md",
    "accuracy.png",
    "trace.png",
    "alphas.png",
    f"{LOGS}/*/events.out.tfevents.*",
    f"{LOGS}/*/hparams.yaml",
)


def identity(config: TransferConfig, world_size: int) -> dict[str, Any]:
    """Everything that results depend on and that must not change when a run is resumed.

    Raises:
        ConfigError: If the processes cannot share the batches evenly.
        RunError: If the data cannot be read.
    """
    for name in ("batch_size", "pretrain_batch_size"):
        # The processes' gradients are averaged with equal weights.
        if getattr(config, name) % world_size:
            msg = (
                f"{name} must be a multiple of the number of processes ({world_size}), "
                f"got {getattr(config, name)}"
            )
            raise ConfigError(msg)
    found = config.to_mapping() | {"world_size": world_size}
    if config.data != DIGITS:
        try:
            found["data_sha256"] = hashlib.sha256(system_path(config.data).read_bytes()).hexdigest()
        except (OSError, ValueError) as error:  # ValueError: no name of a file
            reason = getattr(error, "strerror", None) or error
            msg = f"cannot read the data {config.data}: {reason}"
            raise RunError(msg) from error
    return found


def open_folder(folder: Path, wanted: dict[str, Any], *, force: bool) -> None:
    """Check that a folder is new or holds a run of these settings; with `force`, start it afresh.

    Args:
        folder: The run folder, locked by this process.
        wanted: The run's `identity`.
        force: Remove every record and every output of a run of other, or of unknown, settings.

    Raises:
        RunError: If the folder holds a run of other, or of unknown, settings; if a file cannot be
            removed or written.
    """
    path = folder / CONFIG
    if not _same(folder, wanted, force=force):
        # The settings go last: killed in between, the folder is still that of the old run.
        _remove(folder, (*RECORDS, *OUTPUTS))
        _remove(folder, (CONFIG,))
    remove_partial(folder)
    if not path.exists():
        write_atomic(path, dump_yaml(wanted).encode())


def _same(folder: Path, wanted: dict[str, Any], *, force: bool) -> bool:
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
    changes = difference(known, wanted)
    if changes and not force:
        listed = "\n  ".join(changes)
        msg = (
            f"{folder} holds a run with other settings:\n  {listed}\n"
            "choose another --output, or start afresh with --force"
        )
        raise RunError(msg)
    return not changes


def remove_partial(folder: Path) -> None:
    """Remove what a killed run left half written; other files of that suffix are not a run's."""
    names = (CONFIG, *RECORDS, *OUTPUTS)
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
