"""What this installation of kantorch is and uses."""

from __future__ import annotations

import torch

from kantorch import ops


def show_config() -> dict[str, str | int | bool]:
    """Version, compiler, SIMD level in use, threads, and CUDA: whether built and available, or else why not.

    >>> sorted(show_config())
    ['compiler', 'cuda', 'cuda_available', 'cuda_built', 'simd', 'threads', 'torch', 'version']
    """
    why = ops.why_no_cuda()
    if not why and not torch.cuda.is_available():
        why = "torch sees no GPU"
    return {
        "version": ops.core_version(),
        "compiler": ops.compiler(),
        "simd": ops.simd_level(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda_built": ops.has_cuda(),
        "cuda_available": not why,
        "cuda": why or "available",
    }
