"""Mini-batches: a function of seed and round alone, the same for any number of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from torch.utils.data import TensorDataset

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
