"""One training by Lightning, which goes on from its last checkpoint, and one test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import CombinedLoader

from kantorch.training.batches import BatchStream, evaluation_loader, train_loader
from kantorch.training.callbacks import (
    GeneratorStates,
    LastCheckpoint,
    StepCounter,
    WholeCheckpointIO,
    honest_signals,
    quiet_lightning,
)
from kantorch.training.errors import RunError
from kantorch.training.files import write_tensors
from kantorch.training.folder import LAST, LOGS, WEIGHTS
from kantorch.training.ranks import cluster, first_decides
from kantorch.training.views import KeyedStream, LazyImages

if TYPE_CHECKING:
    from pathlib import Path

    from lightning.pytorch.loggers import Logger
    from torch import Tensor
    from torch.utils.data import DataLoader

    from kantorch.training.batches import Examples
    from kantorch.training.driver import Place
    from kantorch.training.module import PenalizedNetwork
    from kantorch.training.trial import Trial


def fit(
    module: PenalizedNetwork,
    trial: Trial,
    place: Place,
    train: Examples | Mapping[str, Examples],
    validation: Examples,
    *,
    batch_size: int,
    rounds: int,
    accelerator: str,
    loaders: int = 0,
) -> dict[str, Any]:
    """Train a network and leave its weights in the trial's folder.

    Args:
        module: The network, its penalty and its schedule.
        trial: Whose training it is.
        place: Where its files are.
        train: Examples to train on; of several kinds by name, each step then gets a batch of each.
        validation: Examples that are looked at after each round.
        batch_size: Examples per mini-batch and kind, of all processes together.
        rounds: Equal parts of the training; after each it is validated and saved.
        accelerator: What Lightning is to use.
        loaders: Processes that read examples ahead.

    Returns:
        `history`, one row per round, and `traces`, one list per layer.

    Raises:
        RunError: If the accelerator is absent, a checkpoint is damaged, the training was ended from
            outside, or a loss or a gradient is not finite.
    """
    folder, steps = place.of(trial), module.schedule.steps
    torch.manual_seed(module.seed)
    with quiet_lightning():
        trainer = make_trainer(
            trial.name,
            place.folder,
            accelerator,
            rounds=rounds,
            logger=_logger(place.folder, trial.name),
            callbacks=[GeneratorStates(), LastCheckpoint(folder), StepCounter(place.advance)],
        )

        def loader(examples: Examples, *key: int) -> DataLoader[tuple[Tensor, ...]]:
            kind = KeyedStream if isinstance(examples, LazyImages) else BatchStream
            stream = kind(
                len(examples),
                batch_size,
                steps // rounds,
                [module.seed, *key],
                rank=trainer.global_rank,
                world_size=trainer.world_size,
            )
            return train_loader(examples, stream, loaders)

        batches: Any = (
            # The first kind comes as it does when it is alone.
            CombinedLoader(
                {name: loader(part, *[k][:k]) for k, (name, part) in enumerate(train.items())}
            )
            if isinstance(train, Mapping)
            else loader(train)
        )
        last = folder / LAST
        resumed = first_decides(last.exists)
        with honest_signals(trainer):
            trainer.fit(
                module,
                batches,
                evaluation_loader(validation, loaders),
                ckpt_path=last if resumed else None,
            )
    if trainer.global_step != steps:
        msg = f"{trial.name} stopped at step {trainer.global_step} of {steps}; run it again"
        raise RunError(msg)
    weights = module.network.state_dict()
    first_decides(lambda: write_tensors(folder / WEIGHTS, weights))
    return {"history": module.history, "traces": module.traces}


def test(
    module: PenalizedNetwork,
    name: str,
    folder: Path,
    examples: Examples,
    accelerator: str,
    loaders: int,
) -> float:
    """Return how good a network is on examples; see `PenalizedNetwork` for what that means."""
    with quiet_lightning():
        trainer = make_trainer(name, folder, accelerator, rounds=1)
        with honest_signals(trainer):
            (metrics,) = trainer.test(module, evaluation_loader(examples, loaders), verbose=False)
    return float(metrics[f"test_{module.measure}"])


def make_trainer(
    name: str,
    folder: Path,
    accelerator: str,
    *,
    rounds: int,
    logger: Logger | bool = False,
    callbacks: list[Any] | None = None,
) -> Trainer:
    """Make a trainer without bars, banners and checks that a study does itself.

    Raises:
        RunError: If there is no such accelerator here.
    """
    nodes, local = cluster()
    try:
        return Trainer(
            accelerator=accelerator,
            devices=local,
            num_nodes=nodes,
            max_epochs=rounds,
            logger=logger,
            callbacks=callbacks or [],
            plugins=[WholeCheckpointIO(name)],
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the batch streams cut the batches themselves
            log_every_n_steps=1,
        )
    except MisconfigurationException as error:
        msg = f"accelerator {accelerator!r} cannot be used: {error}"
        raise RunError(msg) from error


def _logger(folder: Path, name: str) -> Logger:
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        msg = (
            f"TensorBoard cannot write below {folder}, whose name Python cannot read in "
            "this locale: set PYTHONUTF8=1 or choose another --output"
        )
        raise RunError(msg) from error
    return TensorBoardLogger(folder, name=LOGS, version=name)
