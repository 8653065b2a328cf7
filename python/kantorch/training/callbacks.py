"""What the runs add to Lightning: whole checkpoints, the generators' states, one progress bar."""

from __future__ import annotations

import logging
import random
import signal
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.plugins.io import CheckpointIO

from kantorch.training.errors import RunError
from kantorch.training.files import read_tensors, write_tensors
from kantorch.training.folder import LAST
from kantorch.training.ranks import first_decides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.utilities.types import STEP_OUTPUT


class WholeCheckpointIO(CheckpointIO):
    """Checkpoints that a crash cannot truncate, read back as data and with their checksums.

    Args:
        trial: Whose they are; a file that is not is refused. None: any dictionary is read.
    """

    def __init__(self, trial: str | None = None) -> None:
        self._trial = trial

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write atomically."""
        write_tensors(Path(path), checkpoint)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read tensors and plain data; anything else is an error that names the file."""
        return first_decides(lambda: self._read(Path(path), map_location))

    def _read(self, path: Path, map_location: Any | None) -> dict[str, Any]:
        content = read_tensors(path, "cpu" if map_location is None else map_location)
        if self._trial is not None and content.get("trial") != self._trial:
            msg = f"{path} is no checkpoint of {self._trial}; delete it to repeat this part"
            raise RunError(msg)
        return content

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete the file."""
        Path(path).unlink(missing_ok=True)


class LastCheckpoint(Checkpoint):
    """Saves the whole training state after every round, to one file."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / LAST

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, except after the last round: what follows it is the trial's record."""
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            trainer.save_checkpoint(self.path)


class GeneratorStates(Callback):
    """Carries the states of the random generators through a checkpoint."""

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states as plain data and tensors."""
        name, keys, *rest = np.random.get_state()  # noqa: NPY002 - user code may draw from it
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],  # type: ignore[no-untyped-call]
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training starts: setting it up may draw numbers."""
        self._restored = state_dict

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the states, once, before the first batch after a resume."""
        if self._restored is None:
            return
        states, self._restored = self._restored, None
        torch.set_rng_state(states["torch"].cpu())
        if states["cuda"]:
            torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
        version, internal, gauss = states["python"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, *rest = states["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002


class StepCounter(Callback):
    """Reports each training step, and those a resumed trial need not repeat."""

    def __init__(self, advance: Callable[[int], object]) -> None:
        self._advance = advance

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the steps behind the checkpoint."""
        self._advance(trainer.global_step)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count one step."""
        self._advance(1)


@contextmanager
def honest_signals(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end what a trainer does as errors, and be heard as before afterwards.

    Lightning makes an exit of Ctrl-C and may leave it ignored; after SIGTERM it exits with status 0,
    or goes on.

    Raises:
        KeyboardInterrupt: After Ctrl-C.
        RunError: After SIGTERM.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        if not trainer.received_sigterm:
            raise
    finally:
        # None: a handler that Python did not install. Only the main thread may install any.
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
    if trainer.received_sigterm:
        msg = "terminated by SIGTERM; repeat the command to go on"
        raise RunError(msg)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's banners and its advice about loaders, which runs this small do not need.

    Its other warnings, and everybody else's, pass.
    """
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            for text in _ADVICE:
                warnings.filterwarnings("ignore", message=text)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_ADVICE = (
    ".*does not have many workers.*",
    ".*The number of training batches.*is smaller than the logging interval.*",
    ".*GPU available but not used.*",
    ".*sync_dist=True.*",  # every process evaluates everything
    ".*module\\(s\\) in eval mode at the start of training.*",  # the teacher
    ".*isinstance.treespec, LeafSpec.*",
    ".*Checkpoint directory.*exists and is not empty.*",
)
