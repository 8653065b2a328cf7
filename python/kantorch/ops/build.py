"""Facts about the compiled core."""

from __future__ import annotations

from kantorch.ops._backend import core


def core_version() -> str:
    """The version that was built."""
    return core.__version__


def compiler() -> str:
    """The compiler that built it."""
    return core.compiler


def has_cuda() -> bool:
    """Whether CUDA kernels were built."""
    return core.has_cuda


def simd_level() -> str:
    """The SIMD level in use: baseline, avx2 or avx512."""
    return core.simd_level()


def set_simd_level(level: str) -> None:
    """Use another SIMD level from now on, for tests and comparisons.

    Raises:
        ValueError: no such level, or not on this machine.
    """
    core.set_simd_level(level)
