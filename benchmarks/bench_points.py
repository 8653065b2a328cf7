"""Sinkhorn between 20 000 points, whose cost nobody stores.

Beside a torch loop alone: GeomLoss needs KeOps for it, and OTT-JAX 0.6.0 fails with the JAX that is
installed with it.
"""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

import kantorch
from peers import torch_points_sinkhorn
from race import race
from workloads import points

COUNT = 20_000
ITERATIONS = 20


@pytest.mark.parametrize("d", [3, 64])
def bench_points_fixed_iterations(benchmark: Any, d: int) -> None:
    x, y = points(COUNT, d=d)
    reg = 0.05 * d / 6  # of the mean cost

    def ours() -> Tensor:
        return kantorch.solve_sample(x, y, reg=reg, tol=0.0, max_iter=ITERATIONS).value

    reference = torch_points_sinkhorn(x, y, reg, ITERATIONS)
    race(
        benchmark,
        f"points, {ITERATIONS} Sinkhorn iterations float32, n={COUNT}, d={d}",
        ours,
        {
            "torch logsumexp in chunks": lambda: torch_points_sinkhorn(x, y, reg, ITERATIONS),
        },
        error=lambda value: abs(float(value) - reference) / abs(reference),
        tolerance=1e-4,
        seconds=0,
    )
