"""IPOT beside its dense torch form."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import kantorch
from bare_pass import bare_passes
from peers import torch_ipot
from race import race, relative_to
from workloads import clouds, tensors

ITERATIONS = 100
SIZES = [(64, 64), (16, 256), (1, 512), (1, 1024), (1, 2048)]


@pytest.mark.parametrize(("batch", "n"), SIZES)
def bench_ipot_fixed_iterations(benchmark: Any, batch: int, n: int) -> None:
    cost, a, b = tensors(*clouds(n, batch=batch), dtype=torch.float32)
    beta = 0.1
    reference = torch_ipot(cost.double(), a.double(), b.double(), beta, ITERATIONS)

    def ours() -> torch.Tensor:
        return kantorch.solve(
            cost, a, b, method="ipot", beta=beta, tol=0.0, max_iter=ITERATIONS
        ).value

    race(
        benchmark,
        f"ipot, {ITERATIONS} iterations float32, {batch} x {n} x {n}",
        ours,
        {"torch, dense plan": lambda: torch_ipot(cost, a, b, beta, ITERATIONS)},
        error=relative_to(reference),
        tolerance=2e-5,
        tolerances={"torch, dense plan": 1e-3},
        floors={"bare multiply-adds over a stored matrix": bare_passes(cost, ITERATIONS)},
    )
