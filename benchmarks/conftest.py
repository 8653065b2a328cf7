"""Two threads for everybody, and a machine record in every saved result."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import machine


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(machine.THREADS)


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Add the machine to pytest-benchmark's own record."""
    machine_info.update(machine.record())
