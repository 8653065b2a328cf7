"""Fixtures and settings shared by all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

import kantorch
from kantorch.ops._backend import EMULATED

if TYPE_CHECKING:
    from collections.abc import Iterator

# The same examples on every run and every machine, however slow.
settings.register_profile(
    "kantorch",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("kantorch")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips, and shows, what CUDA does otherwise if it is emulated."""
    if EMULATED and item.get_closest_marker("cpu"):
        pytest.skip("CUDA does otherwise")


@pytest.fixture(params=["exact", "sinkhorn", "ipot"])
def method(request: pytest.FixtureRequest) -> str:
    """A solver, by its public name."""
    return request.param


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """A precision that is computed as it is."""
    return request.param


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU and, where there is one, the GPU."""
    if request.param == "cuda" and not kantorch.show_config()["cuda_available"]:
        pytest.skip("no CUDA device, or no CUDA kernels in this build")
    return torch.device(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """A fresh generator with a fixed seed for every test."""
    return np.random.default_rng(20)


@pytest.fixture
def threads() -> Iterator[None]:
    """Puts back torch's number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
