"""Facts about the compiled core."""

from __future__ import annotations

import importlib.util

import torch

from kantorch.ops._backend import core, why_no_cuda


def core_version() -> str:
    """The version that was built."""
    return core.__version__


def compiler() -> str:
    """The compiler that built it."""
    return core.compiler


def has_cuda() -> bool:
    """Whether CUDA kernels were built."""
    return importlib.util.find_spec("kantorch._cuda") is not None


def why_not_on(device: torch.device) -> str:
    """Why nothing can be computed on a device that is not the CPU; empty if it can."""
    return why_no_cuda() if device.type == "cuda" else "kantorch has no kernels for it"


def simd_level() -> str:
    """The SIMD level in use: baseline, avx2 or avx512."""
    return core.simd_level()


def set_simd_level(level: str) -> None:
    """Use another SIMD level from now on, for tests and comparisons.

    Raises:
        ValueError: no such level, or not on this machine.
    """
    core.set_simd_level(level)
