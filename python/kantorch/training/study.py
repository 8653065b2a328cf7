"""`Study`: do every trial of a driver once, choose parameters, test once, report.

A run folder is its own memory: each finished trial leaves a record, an unfinished one its last
checkpoint, and the same command goes on from there. A study knows nothing of networks.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from kantorch.training.choice import choose
from kantorch.training.driver import Place
from kantorch.training.errors import ConfigError, NonFiniteError, RunError
from kantorch.training.files import write_json
from kantorch.training.folder import LAST, RECORD, TEST, digest, open_folder
from kantorch.training.lock import folder_lock
from kantorch.training.ranks import all_values, first_decides, is_writer, join, world_size
from kantorch.training.records import FAILED, read_record, read_test
from kantorch.training.report import write_report
from kantorch.training.results import Results
from kantorch.training.settings import difference
from kantorch.training.workers import finish_in_processes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from kantorch.training.driver import Driver
    from kantorch.training.trial import Params, Stage, Trial


class Study:
    """All trials of a driver, in a run folder that a stopped study goes on from.

    Args:
        driver: What is studied.
        folder: The run folder; made if absent. A folder that holds a run of the same settings is
            resumed; what is finished is not repeated.
        workers: Processes that trials are shared out to. The results are the same for every number.
        force: Start afresh if the folder holds a run of other settings.
        force_unlock: Take over the lock of a run on another host that no longer lives.
        progress: Show one progress bar for the whole run, on standard error.
    """

    def __init__(
        self,
        driver: Driver[Any],
        folder: Path,
        *,
        workers: int = 1,
        force: bool = False,
        force_unlock: bool = False,
        progress: bool = True,
    ) -> None:
        self.driver = driver
        self.folder = folder
        self.workers = workers
        self.force = force
        self.force_unlock = force_unlock
        self.progress = progress

    def run(self) -> Results:
        """Run, or resume, what is left to do.

        Returns:
            The results that `report.md` tells.

        Raises:
            RunError: If the folder is in use, cannot be written, or holds a run of other settings;
                if a file in it is damaged; whatever stops a trial.
        """
        join()
        if self.workers < 1 or (self.workers > 1 and world_size() > 1):
            rule = "be >= 1, and 1 under torchrun, whose processes share each trial"
            msg = f"workers must {rule}, got {self.workers}"
            raise ConfigError(msg)
        self.driver.check(world_size())
        with ExitStack() as held:
            wanted = _common_identity(self.driver)

            def open_it() -> None:
                remark = held.enter_context(folder_lock(self.folder, force=self.force_unlock))
                if remark:
                    tqdm.write(remark, file=sys.stderr)
                open_folder(self.folder, wanted, self.driver.pictures, force=self.force)

            first_decides(open_it)
            threads = torch.get_num_threads()
            torch.set_num_threads(self.driver.settings.num_threads)
            try:
                results = self._results()
            finally:
                torch.set_num_threads(threads)
            first_decides(lambda: write_report(self.driver, results, self.folder))
        return results

    def _results(self) -> Results:
        stages = self.driver.stages()
        records: dict[Trial, dict[str, Any]] = {}
        failed: dict[Trial, str] = {}
        with self._bar(stages) as bar:
            place = Place(self.folder, bar.update)
            for stage in stages:
                shared: list[Trial] = []
                if self.workers > 1:
                    shared = [t for t in stage.trials if not (place.of(t) / RECORD).exists()]
                    finish_in_processes(
                        self.driver, place, shared, self.workers, tolerant=stage.tolerant
                    )
                for trial in stage.trials:
                    bar.set_description(trial.name)
                    # What the processes did has been told already.
                    where = Place(self.folder) if trial in shared else place
                    record = finish(self.driver, trial, where, tolerant=stage.tolerant)
                    if FAILED in record:
                        failed[trial] = record[FAILED]
                    else:
                        records[trial] = record
            compared = [trial for stage in stages if stage.compared for trial in stage.trials]
            scores = {t: self.driver.score(records[t]) for t in compared if t in records}
            chosen = choose(scores, failed)
            test = self._test(scores, chosen, place) if chosen else {}
        return Results(self.driver.titles(), records, scores, chosen, test, failed)

    def _test(
        self, scores: Mapping[Trial, float], chosen: Mapping[str, Params], place: Place
    ) -> dict[Trial, float]:
        """Measure the chosen trials on the test part: once, after every choice is made."""
        path = self.folder / TEST
        trials = {t.name: t for t in scores if t.params == chosen.get(t.method)}
        least = self.driver.least
        known = first_decides(lambda: read_test(path, list(trials), least))
        if known is None:
            measured = {name: self.driver.test(t, place) for name, t in trials.items()}

            def keep() -> dict[str, float]:
                write_json(path, measured)
                return measured

            known = first_decides(keep)
        return {trial: known[name] for name, trial in trials.items()}

    def _bar(self, stages: Sequence[Stage]) -> tqdm[Any]:
        return tqdm(
            total=sum(self.driver.steps(trial) for stage in stages for trial in stage.trials),
            unit=self.driver.unit,
            disable=not (self.progress and is_writer()),
            file=sys.stderr,
            mininterval=0.2 if sys.stderr.isatty() else 10.0,
            dynamic_ncols=True,
        )


def finish(
    driver: Driver[Any], trial: Trial, place: Place, *, tolerant: bool = False
) -> dict[str, Any]:
    """Do a trial, unless it has left its record, and return that.

    If `tolerant`, a trial that diverges leaves a record, too: of the reason.
    """
    folder = place.of(trial)

    def read() -> dict[str, Any] | None:
        def faults(record: Mapping[str, Any]) -> Iterable[str]:
            return driver.faults(trial, record)

        return read_record(folder, trial.name, faults, tolerant=tolerant)

    finished = first_decides(read)
    if finished is not None:
        place.advance(driver.steps(trial))
        return finished
    started = time.perf_counter()
    record: dict[str, Any] = {"trial": trial.name}
    try:
        record |= driver.run(trial, place)
    except NonFiniteError as error:
        if not tolerant:
            raise
        record[FAILED] = str(error)
    record["seconds"] = time.perf_counter() - started

    def keep() -> dict[str, Any]:
        # From here on the trial counts as finished.
        write_json(folder / RECORD, record)
        (folder / LAST).unlink(missing_ok=True)
        return record

    return first_decides(keep)


def _common_identity(driver: Driver[Any]) -> dict[str, Any]:
    """Return what the run's results depend on, the same in every process."""
    mine: dict[str, Any] = (
        {"driver": driver.name} | driver.settings.to_mapping() | {"world_size": world_size()}
    )
    mine |= {f"{name}_sha256": digest(name, file) for name, file in driver.inputs().items()}
    identities = all_values(mine)
    for rank, other in enumerate(identities):
        changes = difference(identities[0], other)
        if changes:
            listed = "\n  ".join(changes)
            msg = f"process {rank} has other settings or data than process 0:\n  {listed}"
            raise RunError(msg)
    return identities[0]
