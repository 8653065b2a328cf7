"""The one place that knows the devices: their cores, their memory, their threads, and where ops are registered."""

from __future__ import annotations

import functools
import importlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from kantorch import _core

DISPATCH_KEYS = ("CPU", "CUDA")

# Tests of a build with KANTORCH_EMULATION=ON: tensors on the CPU then go where those on a GPU go.
EMULATED = os.environ.get("KANTORCH_EMULATION") == "1"

# What a core does on its device, as its last argument, an Execution, says.
OPERATIONS = frozenset(
    {
        "check",
        "distance_matrix",
        "dual_bound",
        "exact",
        "gibbs",
        "implicit",
        "ipot",
        "line",
        "point_gradient",
        "sinkhorn",
    }
)

__all__ = ["DISPATCH_KEYS", "Execution", "core", "on_cuda", "why_no_cuda"]


def on_cuda(device: torch.device) -> bool:
    """Whether the kernels for GPUs work there: they only queue what they do, and looking at values would wait for it."""
    return device.type == "cuda" or EMULATED


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

    def order(self, vectors: Tensor) -> Tensor:
        """The indices that sort each vector, equal numbers in the order of their indices."""
        return vectors.sort(dim=-1, stable=True).indices

    @property
    def gpu(self) -> int:
        """Its number."""
        return self.device.index or 0

    @property
    def stream(self) -> int:
        """The stream on which torch queues work for the GPU."""
        if self.device.type != "cuda":
            return 0
        stream: int = torch.cuda.current_stream(self.device).cuda_stream
        return stream


@functools.cache
def _cuda() -> Any:
    """The kernels for GPUs.

    Raises:
        NotImplementedError: this build has none, or nothing to run them on.
    """
    if why := why_no_cuda():
        msg = f"kantorch cannot run on a GPU here: {why}; move the tensors to the cpu"
        raise NotImplementedError(msg)
    return importlib.import_module("kantorch._cuda")


@functools.cache
def why_no_cuda() -> str:
    """Why kernels for GPUs cannot run in this process; empty if they can."""
    try:
        cuda = importlib.import_module("kantorch._cuda")
    except ImportError as error:
        if error.name != "kantorch._cuda":
            return f"kantorch._cuda cannot be loaded, {error}"
        return "this build has no CUDA kernels (KANTORCH_CUDA=ON builds them)"
    if cuda.emulated:
        return "" if EMULATED else "this build emulates CUDA kernels (set KANTORCH_EMULATION=1)"
    return str(cuda.why_unavailable())


if TYPE_CHECKING:
    core = _core
else:

    class _Cores:
        """The core of the CPU, but operations go to that of their device."""

        def __getattr__(self, name: str) -> Any:
            on_cpu = getattr(_core, name)
            if name not in OPERATIONS:
                return on_cpu

            def operation(*args: Any) -> Any:
                return (getattr(_cuda(), name) if on_cuda(args[-1].device) else on_cpu)(*args)

            setattr(self, name, operation)
            return operation

    core = _Cores()
