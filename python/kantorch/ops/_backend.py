"""The one place that knows the devices: their cores, their memory, their threads, and where ops are registered."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from kantorch import _core as core

DISPATCH_KEY = "CPU"

__all__ = ["DISPATCH_KEY", "Execution", "core"]


class Execution(NamedTuple):
    """Where and how a call of the core runs."""

    device: torch.device
    threads: int

    @classmethod
    def of(cls, tensor: Tensor, threads: int) -> Execution:
        """On the device of a tensor; 0 threads stand for torch's own number."""
        return cls(tensor.device, threads or torch.get_num_threads())

    def allocate(self, size: int) -> Tensor:
        """So many bytes of scratch, from torch's allocator; the core asks for them."""
        return torch.empty(size, dtype=torch.uint8, device=self.device)
