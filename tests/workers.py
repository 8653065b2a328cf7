"""What worker processes run; a module of its own so that spawned ones can import it."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

import kantorch

METHODS: tuple[dict[str, object], ...] = (
    {},
    {"reg": 0.1},
    {"method": "ipot", "max_iter": 20, "tol": 0.0},
)


def answers(index: int) -> torch.Tensor:
    """The values of one random problem by every method, with several threads asked for."""
    generator = torch.Generator().manual_seed(index)
    cost = torch.rand(4, 40, 40, generator=generator)
    return torch.stack([kantorch.solve(cost, num_threads=4, **m).value.sum() for m in METHODS])


class Answers(Dataset):
    """Solves in the worker that loads it."""

    def __init__(self, size: int = 16) -> None:
        self.size = size

    def __len__(self) -> int:
        """Number of problems."""
        return self.size

    def __getitem__(self, index: int) -> torch.Tensor:
        """The answers to problem `index`."""
        return answers(index)
