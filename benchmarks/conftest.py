"""Two threads for everybody, one device, and a machine record in every saved result."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import kantorch
import machine


def pytest_addoption(parser: Any) -> None:
    """The device, which decides what is run."""
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu")


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave what belongs to another device, or skip everything where there is no GPU."""
    chosen = config.getoption("--device")
    marks = {item: item.get_closest_marker("device") for item in items}
    items[:] = [i for i in items if chosen == (marks[i].args[0] if marks[i] else "cpu")]
    if chosen == "cuda" and (why := kantorch.ops.why_no_cuda()):
        for item in items:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture
def device(request: Any) -> str:
    """Where the solvers run."""
    chosen: str = request.config.getoption("--device")
    return chosen


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(machine.THREADS)


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Add the machine to pytest-benchmark's own record."""
    machine_info.update(machine.record())
