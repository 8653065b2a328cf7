"""Mini-batches: a function of seed and round alone, the same for any number of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import Tensor
    from torch.utils.data import TensorDataset

    from kantorch.training.views import LazyImages

    Examples: TypeAlias = TensorDataset | LazyImages

EVALUATION_BATCH = 512


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
        seed: Sequence[int],
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
        rng = np.random.default_rng([*self.seed, self._round])
        needed = self.batches * self.batch_size
        repeats = -(-needed // self.size)
        order = np.concatenate([rng.permutation(self.size) for _ in range(repeats)])[:needed]
        for batch in order.reshape(self.batches, self.batch_size):
            yield batch[self.rank :: self.world_size].tolist()


def train_loader(
    dataset: Examples, stream: BatchStream, workers: int = 0
) -> DataLoader[tuple[Tensor, ...]]:
    """Whole batches by one indexing each, instead of an example at a time."""
    return _loader(dataset, stream, workers)


def evaluation_loader(dataset: Examples, workers: int = 0) -> DataLoader[tuple[Tensor, ...]]:
    """All examples, in order."""
    size = getattr(dataset, "evaluation_batch", EVALUATION_BATCH)
    batches = [
        list(range(start, min(start + size, len(dataset))))
        for start in range(0, len(dataset), size)
    ]
    return _loader(dataset, batches, workers)


def _loader(
    dataset: Examples, batches: Iterable[list[int]], workers: int
) -> DataLoader[tuple[Tensor, ...]]:
    # A generator of its own keeps the loader off the global one, whose state is checkpointed.
    return DataLoader(
        dataset,
        sampler=batches,
        batch_size=None,
        generator=torch.Generator(),
        num_workers=workers,
        persistent_workers=workers > 0,
    )
