"""The one place that knows the device: its core, its memory, its threads, and where its ops are registered."""

from __future__ import annotations

import torch
from torch import Tensor

from kantorch import _core as core

DISPATCH_KEY = "CPU"

__all__ = ["DISPATCH_KEY", "core", "thread_count", "workspace"]


def thread_count(threads: int) -> int:
    """The number of threads to use; 0 stands for torch's own number."""
    return threads or torch.get_num_threads()


def workspace(size: int) -> Tensor:
    """Scratch memory, from torch's allocator."""
    return torch.empty(size, dtype=torch.uint8)
