"""Two threads for everybody, and a machine record in every saved result."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
from typing import Any

import pytest
import torch

import kantorch

THREADS = 2


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(THREADS)


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Add what decides the speed: the SIMD level, the threads and the versions."""
    machine_info["kantorch"] = kantorch.show_config() | {"threads": THREADS}
    machine_info["cores"] = os.cpu_count()
    machine_info["versions"] = {
        name: importlib.metadata.version(name)
        for name in ("torch", "numpy", "scipy", "POT", "ott-jax", "regot", "lapx")
        if _is_installed(name)
    }
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    machine_info["commit"] = commit.stdout.strip() or "unknown"


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
