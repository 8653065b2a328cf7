"""`run_transfer`: pre-train once, fine-tune every trial, choose strengths, test once, report.

A run folder is its own memory: each finished trial leaves a record, an unfinished one its last
checkpoint, and the same command goes on from there.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tqdm import tqdm

from kantorch.config import show_config
from kantorch.regularizers import L2, L2SP, RepresentationTransport
from kantorch.training.callbacks import (
    GeneratorStates,
    LastCheckpoint,
    StepCounter,
    WholeCheckpointIO,
    honest_signals,
    quiet_lightning,
)
from kantorch.training.config import difference
from kantorch.training.data import BatchStream, Tasks, evaluation_loader, train_loader
from kantorch.training.errors import RunError
from kantorch.training.files import write_json, write_tensors
from kantorch.training.folder import (
    LAST,
    LOGS,
    RECORD,
    SOURCE,
    TEST,
    TRIALS,
    WEIGHTS,
    identity,
    open_folder,
)
from kantorch.training.lock import folder_lock
from kantorch.training.model import HEAD, ConvNet, make_network, with_new_head
from kantorch.training.ranks import (
    all_values,
    cluster,
    first_decides,
    is_writer,
    join,
    world_size,
)
from kantorch.training.records import Expected, read_accuracies, read_record, read_weights
from kantorch.training.transfer import Schedule, TransferModule
from kantorch.training.trials import Trial, all_trials, choose_alphas

if TYPE_CHECKING:
    from pathlib import Path

    from lightning.pytorch.loggers import Logger
    from torch import nn

    from kantorch.regularizers.representation import Kind
    from kantorch.training.config import TransferConfig
    from kantorch.training.data import Split
    from kantorch.training.report import Results


TRANSPORTS = ("identity", "uniform", "optimal")


def run_transfer(
    config: TransferConfig,
    output: Path,
    *,
    force: bool = False,
    force_unlock: bool = False,
    progress: bool = True,
) -> Results:
    """Run, or resume, the whole comparison in a folder.

    Args:
        config: Its settings.
        output: The run folder; made if absent. A folder that holds a run of the same settings is
            resumed; what is finished is not repeated.
        force: Start afresh if the folder holds a run of other settings.
        force_unlock: Take over the lock of a run on another host that no longer lives.
        progress: Show one progress bar for the whole run, on standard error.

    Returns:
        The results that `report.md` tells.

    Raises:
        RunError: If the folder is in use, cannot be written, or holds a run of other settings; if a
            file in it is damaged; if a loss is not finite.

    Source:
        Li et al.: Representation Transfer by Optimal Transport, section 4.2, in small.
    """
    join()
    with ExitStack() as held:
        wanted = _common_identity(config)

        def open_it() -> None:
            remark = held.enter_context(folder_lock(output, force=force_unlock))
            if remark:
                tqdm.write(remark, file=sys.stderr)
            open_folder(output, wanted, force=force)

        first_decides(open_it)
        return Run(config, output, progress=progress and is_writer()).run()


def _common_identity(config: TransferConfig) -> dict[str, Any]:
    """Return the run's identity, the same in every process."""
    identities = all_values(identity(config, world_size()))
    for rank, other in enumerate(identities):
        changes = difference(identities[0], other)
        if changes:
            listed = "\n  ".join(changes)
            msg = f"process {rank} has other settings or data than process 0:\n  {listed}"
            raise RunError(msg)
    return identities[0]


class Run:
    """One comparison, from the source task to the report."""

    def __init__(self, config: TransferConfig, folder: Path, *, progress: bool) -> None:
        self.config = config
        self.folder = folder
        self.progress = progress

    def run(self) -> Results:
        """Do what is left to do."""
        from kantorch.training.report import Results, write_report

        threads = torch.get_num_threads()
        torch.set_num_threads(self.config.num_threads)
        try:
            tasks = Tasks(self.config)
            trials = all_trials(self.config)
            total = self.config.pretrain_steps + len(trials) * self.config.steps
            with quiet_lightning(), self._bar(total) as bar:
                source, source_record = self._pretrain(tasks, bar)
                records = {trial: self._fine_tune(trial, tasks, source, bar) for trial in trials}
                chosen = choose_alphas(self.config, records)
                test = self._test(tasks, chosen)
        finally:
            torch.set_num_threads(threads)
        results = Results(self.config, records, chosen, test, source_record, tasks.sizes())
        first_decides(lambda: write_report(results, self.folder))
        return results

    def _bar(self, total: int) -> tqdm[Any]:
        return tqdm(
            total=total,
            unit="step",
            disable=not self.progress,
            file=sys.stderr,
            mininterval=0.2 if sys.stderr.isatty() else 10.0,
            dynamic_ncols=True,
        )

    def _expected(self, trial: Trial | None) -> Expected:
        """What the record of a trial, or of the pre-training, must hold."""
        config = self.config
        terms: tuple[str, ...] = ("cross_entropy", "validation_accuracy")
        if trial is None:
            return Expected("source", config.pretrain_steps, config.rounds, terms)
        if trial.regularizer != "none":
            terms += ("penalty",)
        terms += tuple(f"validation_trace_{layer}" for layer in config.layers)
        layers = config.layers if trial.regularizer in TRANSPORTS else ()
        return Expected(trial.name, config.steps, config.rounds, terms, layers)

    def _pretrain(self, tasks: Tasks, bar: tqdm[Any]) -> tuple[ConvNet, dict[str, Any]]:
        config = self.config
        classes = len(config.source_classes)
        network = make_network(tasks.in_channels, config.channels, classes, config.data_seed)
        module = TransferModule(
            network,
            classes=classes,
            schedule=Schedule(
                config.pretrain_steps, config.pretrain_learning_rate, config.momentum
            ),
            seed=config.data_seed,
            shift=config.shift,
            name="source",
        )
        record = self._train(
            module,
            self.folder / SOURCE,
            tasks.source(),
            bar,
            self._expected(None),
            batch_size=config.pretrain_batch_size,
        )
        return network, record

    def _fine_tune(
        self, trial: Trial, tasks: Tasks, source: ConvNet, bar: tqdm[Any]
    ) -> dict[str, Any]:
        config = self.config
        folder = self.folder / TRIALS / trial.name
        expected = self._expected(trial)
        finished = first_decides(lambda: read_record(folder, expected))
        if finished is not None:
            bar.update(config.steps)
            return finished
        classes = len(config.target_classes)
        network = with_new_head(source, classes, trial.seed)
        regularizer = make_regularizer(config, trial, network, source)
        module = TransferModule(
            network,
            classes=classes,
            schedule=Schedule(config.steps, config.learning_rate, config.momentum),
            seed=trial.seed,
            shift=config.shift,
            name=trial.name,
            regularizer=regularizer,
            reference=source,
            layers=config.layers,
        )
        return self._train(
            module,
            folder,
            tasks.target(trial.seed),
            bar,
            expected,
            batch_size=config.batch_size,
        )

    def _train(
        self,
        module: TransferModule,
        folder: Path,
        split: Split,
        bar: tqdm[Any],
        expected: Expected,
        *,
        batch_size: int,
    ) -> dict[str, Any]:
        """Train one trial, from its last checkpoint if it has one, and record it."""
        steps = expected.steps
        finished = first_decides(lambda: read_record(folder, expected))
        if finished is not None:
            module.network.load_state_dict(
                first_decides(lambda: read_weights(folder, module.network))
            )
            bar.update(steps)
            return finished
        bar.set_description(module.trial)
        started = time.perf_counter()
        torch.manual_seed(module.seed)
        rounds = self.config.rounds
        trainer = self._trainer(
            module.trial,
            rounds,
            self._logger(module.trial),
            [GeneratorStates(), LastCheckpoint(folder), StepCounter(bar.update)],
        )
        stream = BatchStream(
            len(split.train),
            batch_size,
            steps // rounds,
            module.seed,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        last = folder / LAST
        resumed = first_decides(last.exists)
        with honest_signals(trainer):
            trainer.fit(
                module,
                train_loader(split.train, stream),
                evaluation_loader(split.validation),
                ckpt_path=last if resumed else None,
            )
        if trainer.global_step != steps:
            msg = f"{module.trial} stopped at step {trainer.global_step} of {steps}; run it again"
            raise RunError(msg)
        record = {
            "trial": module.trial,
            "seconds": time.perf_counter() - started,
            "history": module.history,
            "traces": module.traces,
        }

        def keep() -> dict[str, Any]:
            write_tensors(folder / WEIGHTS, module.network.state_dict())
            # From here on the trial counts as finished.
            write_json(folder / RECORD, record)
            last.unlink(missing_ok=True)
            return record

        return first_decides(keep)

    def _logger(self, trial: str) -> Logger:
        try:
            str(self.folder).encode()
        except UnicodeEncodeError as error:
            msg = (
                f"TensorBoard cannot write below {self.folder}, whose name Python cannot read in "
                "this locale: set PYTHONUTF8=1 or choose another --output"
            )
            raise RunError(msg) from error
        return TensorBoardLogger(self.folder, name=LOGS, version=trial)

    def _trainer(
        self, trial: str, rounds: int, logger: Logger | bool, callbacks: list[Any]
    ) -> Trainer:
        nodes, local = cluster()
        try:
            return Trainer(
                accelerator=self.config.accelerator,
                devices=local,
                num_nodes=nodes,
                max_epochs=rounds,
                logger=logger,
                callbacks=callbacks,
                plugins=[WholeCheckpointIO(trial)],
                default_root_dir=self.folder,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,  # the batch streams cut the batches themselves
                log_every_n_steps=1,
            )
        except MisconfigurationException as error:
            msg = f"accelerator {self.config.accelerator!r} cannot be used: {error}"
            raise RunError(msg) from error

    def _test(self, tasks: Tasks, chosen: dict[str, float]) -> dict[Trial, float]:
        """Measure the chosen trials on the test part: once, after every choice is made."""
        trials = [
            Trial(name, alpha, seed) for name, alpha in chosen.items() for seed in self.config.seeds
        ]
        path = self.folder / TEST
        known = first_decides(lambda: read_accuracies(path, [trial.name for trial in trials]))
        if known is not None:
            return {trial: known[trial.name] for trial in trials}
        loader = evaluation_loader(tasks.test())
        accuracies: dict[str, float] = {}
        for trial in trials:
            classes = len(self.config.target_classes)
            network = make_network(tasks.in_channels, self.config.channels, classes, 0)
            weights = partial(read_weights, self.folder / TRIALS / trial.name, network)
            network.load_state_dict(first_decides(weights))
            module = TransferModule(
                network,
                classes=classes,
                schedule=Schedule(1, 1.0, 0.0),
                seed=0,
                shift=0,
                name=trial.name,
            )
            trainer = self._trainer(trial.name, 1, logger=False, callbacks=[])
            with honest_signals(trainer):
                (metrics,) = trainer.test(module, loader, verbose=False)
            accuracies[trial.name] = float(metrics["test_accuracy"])

        def keep() -> dict[str, float]:
            write_json(path, accuracies)
            return accuracies

        told = first_decides(keep)
        return {trial: told[trial.name] for trial in trials}


def make_regularizer(
    config: TransferConfig, trial: Trial, network: ConvNet, source: ConvNet
) -> nn.Module | None:
    """Make the penalty of a trial, between a network and its starting point."""
    if trial.regularizer == "none":
        return None
    if trial.regularizer == "l2":
        return L2(network, alpha=trial.alpha)
    if trial.regularizer == "l2sp":
        return L2SP(network, source, head=(HEAD,), alpha=trial.alpha, beta=config.head_beta)
    return RepresentationTransport(
        network,
        source,
        layers=config.layers,
        alpha=trial.alpha,
        kind=cast("Kind", trial.regularizer),
        solver=config.solver,
        max_iter=config.solver_max_iter if config.solver == "ipot" else None,
        solver_device=None if show_config()["cuda_available"] else "cpu",
    )
