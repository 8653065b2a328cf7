"""Trials in several processes: each leaves its record, which the study then reads as any other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from kantorch.training.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from kantorch.training.driver import Driver, Place
    from kantorch.training.settings import Settings
    from kantorch.training.trial import Trial


def finish_in_processes(
    driver: Driver[Any],
    place: Place,
    trials: Sequence[Trial],
    workers: int,
    *,
    tolerant: bool = False,
) -> None:
    """Do trials of one stage, several at a time.

    Each process makes a driver of its own from the settings; what it finds out it leaves in the
    trial's folder.

    Args:
        driver: What is studied.
        place: Where.
        trials: Those that are not finished.
        workers: Processes.
        tolerant: See `kantorch.training.study.finish`.

    Raises:
        RunError: Whatever stops a trial; the others are then given up, and their checkpoints kept.
    """
    if not trials:
        return
    pool = ProcessPoolExecutor(
        min(workers, len(trials)),
        multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(type(driver), driver.settings, place.folder),
    )
    processes = pool._processes
    try:
        with _sigterm_as_error():
            for future in as_completed([pool.submit(_finish, trial, tolerant) for trial in trials]):
                place.advance(future.result())
    except BaseException:
        for process in list(processes.values()):
            process.terminate()
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


_driver: Driver[Any]
_place: Place


def _start(kind: type[Driver[Any]], settings: Settings, folder: Path) -> None:
    """Prepare a process: once, before its first trial."""
    global _driver, _place
    from kantorch.training.driver import Place

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(settings.num_threads)
    _driver, _place = kind(settings), Place(folder)


def _end_with_parent() -> None:
    """A parent that was killed holds no lock any more: nothing may be written for it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _finish(trial: Trial, tolerant: bool) -> int:
    """Do a trial and return its steps."""
    from kantorch.training.study import finish

    finish(_driver, trial, _place, tolerant=tolerant)
    return _driver.steps(trial)


@contextmanager
def _sigterm_as_error() -> Iterator[None]:
    """Let SIGTERM end the waiting, so that the processes are ended, too."""

    def stop(number: int, frame: FrameType | None) -> None:
        msg = "terminated by SIGTERM; repeat the command to go on"
        raise RunError(msg)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
