"""The two tasks: images by class, split once for testing and once per seed for everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset

from kantorch.training.errors import ConfigError
from kantorch.training.images import load_images

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kantorch.training.config import TransferConfig

EVALUATION_BATCH = 512


@dataclass(frozen=True)
class Split:
    """Disjoint parts of one task, with labels from 0."""

    train: TensorDataset
    validation: TensorDataset


class Tasks:
    """Source and target task, cut out of one set of labelled images.

    The test part of the target is drawn once and never meets a seed; training and validation
    examples are drawn per seed from the rest.

    Args:
        config: Which data, which classes, how many examples.

    Raises:
        RunError: If the data cannot be read.
        ConfigError: If a class has too few examples for the setting that is named, or the shape of
            the images leaves their layout open.
    """

    def __init__(self, config: TransferConfig) -> None:
        self.config = config
        images, labels = load_images(config.data, config.image_layout)
        self._by_class = {int(c): np.flatnonzero(labels == c) for c in np.unique(labels)}
        for name in ("source_classes", "target_classes"):
            for label in getattr(config, name):
                if label not in self._by_class:
                    msg = f"{name} must hold labels of the data, got {label}"
                    raise ConfigError(msg)
        source = np.concatenate([self._by_class[c] for c in config.source_classes])
        mean, deviation = images[source].mean(), images[source].std()
        self._images = torch.from_numpy((images - mean) / max(float(deviation), 1e-12)).float()
        self._labels = labels
        self.in_channels = self._images.shape[1]
        self._test: list[np.ndarray] = []
        self._pool: list[np.ndarray] = []
        rng = np.random.default_rng(config.data_seed)
        for label in config.target_classes:
            members = rng.permutation(self._by_class[label])
            held_out = round(config.test_fraction * len(members))
            self._test.append(members[:held_out])
            self._pool.append(members[held_out:])
            needed = config.labels_per_class + config.validation_per_class
            if len(members) - held_out < needed or held_out < 1:
                msg = (
                    "labels_per_class + validation_per_class must leave a test part: class "
                    f"{label} has {len(members)} examples, {held_out} for testing, and {needed} "
                    "are wanted besides"
                )
                raise ConfigError(msg)

    def source(self) -> Split:
        """Four fifths of the source task to train on, the rest to validate."""
        config = self.config
        rng = np.random.default_rng([config.data_seed, 1])
        parts = [rng.permutation(self._by_class[label]) for label in config.source_classes]
        cuts = [len(part) - max(1, len(part) // 5) for part in parts]
        train = [part[:cut] for part, cut in zip(parts, cuts, strict=True)]
        rest = [part[cut:] for part, cut in zip(parts, cuts, strict=True)]
        classes = config.source_classes
        return Split(self._dataset(train, classes), self._dataset(rest, classes))

    def target(self, seed: int) -> Split:
        """The few labelled examples of a seed, and its validation examples."""
        config = self.config
        rng = np.random.default_rng([config.data_seed, 2, seed])
        few, stop = config.labels_per_class, config.labels_per_class + config.validation_per_class
        pools = [rng.permutation(pool) for pool in self._pool]
        classes = config.target_classes
        return Split(
            self._dataset([pool[:few] for pool in pools], classes),
            self._dataset([pool[few:stop] for pool in pools], classes),
        )

    def test(self) -> TensorDataset:
        """The test part of the target task: for the end, once."""
        return self._dataset(self._test, self.config.target_classes)

    def sizes(self) -> dict[str, int]:
        """Return the number of examples of each part."""
        source, target = self.source(), self.target(self.config.seeds[0])
        return {
            "source training": len(source.train),
            "source validation": len(source.validation),
            "target training, per seed": len(target.train),
            "target validation, per seed": len(target.validation),
            "target test": len(self.test()),
        }

    def _dataset(self, members: Sequence[np.ndarray], classes: Sequence[int]) -> TensorDataset:
        index = np.concatenate(list(members))
        position = {label: place for place, label in enumerate(classes)}
        labels = torch.tensor([position[int(label)] for label in self._labels[index]])
        return TensorDataset(self._images[torch.from_numpy(index)], labels)


class BatchStream(Sampler[list[int]]):
    """A fixed number of mini-batches per round, a function of seed and round alone.

    Permutations of the examples follow each other, so that batches are full and every example is
    seen equally often. Because no state is carried, a resumed run sees the same batches.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        batches: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.size = size
        self.batch_size = batch_size
        self.batches = batches
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._round = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the round; Lightning calls this before each."""
        self._round = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self._round])
        needed = self.batches * self.batch_size
        repeats = -(-needed // self.size)
        order = np.concatenate([rng.permutation(self.size) for _ in range(repeats)])[:needed]
        for batch in order.reshape(self.batches, self.batch_size):
            yield batch[self.rank :: self.world_size].tolist()


def train_loader(dataset: TensorDataset, stream: BatchStream) -> DataLoader[tuple[Tensor, ...]]:
    """Whole batches by one indexing each, instead of an example at a time."""
    # A generator of its own keeps the loader off the global one, whose state is checkpointed.
    return DataLoader(dataset, sampler=stream, batch_size=None, generator=torch.Generator())


def evaluation_loader(dataset: TensorDataset) -> DataLoader[tuple[Tensor, ...]]:
    """All examples, in order."""
    batches = [
        list(range(start, min(start + EVALUATION_BATCH, len(dataset))))
        for start in range(0, len(dataset), EVALUATION_BATCH)
    ]
    return DataLoader(dataset, sampler=batches, batch_size=None, generator=torch.Generator())
