"""Problems between points that are too large for a stored cost, beside a chunked torch loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import kantorch
from peers import geomloss_sinkhorn, torch_sinkhorn_chunked
from race import race

N = 20_000
ITERATIONS = 20


@pytest.mark.parametrize("dims", [3, 64])
def bench_points_fixed_iterations(benchmark: Any, dims: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(N, dims, generator=generator)
    y = torch.rand(N, dims, generator=generator)
    reg = dims / 60

    def ours() -> torch.Tensor:
        return kantorch.solve_sample(x, y, reg=reg, max_iter=ITERATIONS, tol=0.0).value

    reference = ours().double()
    race(
        benchmark,
        f"points, {ITERATIONS} iterations float32, {N} x {N} in {dims}-D",
        ours,
        {
            "torch logsumexp, chunked": lambda: torch_sinkhorn_chunked(x, y, reg, ITERATIONS),
            "GeomLoss online": geomloss_sinkhorn(x, y, reg),
        },
        # The potentials of both are one iteration of another order apart from nothing: the same value.
        error=lambda value: float(((value.double() - reference) / reference).abs()),
        tolerance=1e-5,
        tolerances=dict.fromkeys(["torch logsumexp, chunked", "GeomLoss online"], 1e-2),
        seconds=0.0,
        warm=False,
    )
