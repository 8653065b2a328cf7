"""Sums over the processes of torch.distributed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


def several() -> bool:
    """Whether this is one of several processes that work together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return total(gradients[0])


def total(values: Tensor) -> Tensor:
    """The sum over all processes, which all call this together.

    Its gradient is the sum of the processes' gradients: averaged over them, that of each one's own
    values is what one process would have found that holds the values of all.
    """
    summed: Tensor = _Total.apply(values)  # type: ignore[no-untyped-call]
    return summed


def count(number: int, device: torch.device) -> int:
    """The sum of a number over all processes."""
    summed = torch.tensor(number, device=device)
    dist.all_reduce(summed)
    return int(summed)
