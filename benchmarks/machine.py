"""What decides the speed: processor, SIMD level, threads, versions and commit."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from typing import Any

import cpuinfo
import torch

import kantorch

THREADS = 2
PACKAGES = ("torch", "numpy", "scipy", "POT", "ott-jax", "regot", "lapx")


def record() -> dict[str, Any]:
    """The machine, to be saved beside the times."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "processor": cpuinfo.get_cpu_info().get("brand_raw", "unknown processor"),
        "cores": os.cpu_count(),
        "gpu": _gpu(),
        "kantorch": kantorch.show_config() | {"threads": THREADS},
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": commit.stdout.strip() or "unknown",
    }


def describe(machine: dict[str, Any]) -> str:
    """A record in one line."""
    config = machine["kantorch"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    gpu = f"{machine['gpu']}; " if machine.get("gpu") else ""
    return (
        f"{gpu}{machine['processor']}, {machine['cores']} cores, {config['threads']} threads, "
        f"{config['simd']}; kantorch {config['version']} at commit {machine['commit']}, "
        f"{config['compiler']}; {versions}."
    )


def _gpu() -> str:
    """Its name and limits, if kantorch can run on it."""
    if kantorch.ops.why_no_cuda() or not torch.cuda.is_available():
        return ""
    of = torch.cuda.get_device_properties(0)
    return f"{of.name}, {of.multi_processor_count} multiprocessors, CUDA {torch.version.cuda}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
