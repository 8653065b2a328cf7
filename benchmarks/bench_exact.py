"""The exact solver beside POT's network simplex and the assignment solvers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import kantorch
from peers import installed, optional
from race import race
from workloads import clouds, grids, neurons, tensors, uniform_clouds

SINGLE = {
    "exact, weighted 2-D, n=8": lambda: clouds(8),
    "exact, weighted 2-D, n=64": lambda: clouds(64),
    "exact, weighted 2-D, n=256": lambda: clouds(256),
    "exact, weighted 2-D, n=1000": lambda: clouds(1000),
    "exact, weighted 2-D, n=2000": lambda: clouds(2000),
    "exact, weighted 2-D, n=4000": lambda: clouds(4000),
    "exact, weighted 2-D, 64 x 2048": lambda: clouds(64, 2048),
    "exact, 32 x 32 image grids": lambda: grids(32),
    "exact, uniform d=64, n=1024": lambda: neurons(1024),
    "exact, uniform d=64, n=2048": lambda: neurons(2048),
    "exact, uniform 2-D, n=2000": lambda: uniform_clouds(2000),
}
BATCHED = {
    "exact, 256 problems of n=64": lambda: clouds(64, batch=256),
    "exact, 32 problems of n=256": lambda: clouds(256, batch=32),
    "exact, 2048 problems of n=16": lambda: clouds(16, batch=2048),
}


def _relative(reference: Any) -> Any:
    return lambda value: np.max(np.abs(np.asarray(value) - reference) / np.abs(reference))


@pytest.mark.parametrize("work", SINGLE)
def bench_exact_single(benchmark: Any, work: str) -> None:
    ot = installed("ot")
    cost, a, b = SINGLE[work]()
    tensors_ = tensors(cost, a, b)
    peers = {"POT ot.emd2": lambda: ot.emd2(a, b, cost, numItermax=10**9)}
    if "uniform" in work:
        optimize = installed("scipy.optimize")
        n = len(a)
        peers["SciPy linear_sum_assignment"] = lambda: (
            cost[optimize.linear_sum_assignment(cost)].sum() / n
        )
        lap = optional("lap")
        peers["lapx lapjv"] = lap and (lambda: lap.lapjv(cost, return_cost=True)[0] / n)
    reference = ot.emd2(a, b, cost, numItermax=10**9)
    race(
        benchmark,
        work,
        lambda: kantorch.solve(*tensors_).value.numpy(),
        peers,
        error=_relative(reference),
        tolerance=1e-9,
    )


@pytest.mark.parametrize("work", BATCHED)
def bench_exact_batched(benchmark: Any, work: str) -> None:
    ot = installed("ot")
    cost, a, b = BATCHED[work]()
    tensors_ = tensors(cost, a, b)

    def loop() -> np.ndarray:
        return np.array([ot.emd2(a[k], b[k], cost[k]) for k in range(len(cost))])

    race(
        benchmark,
        work,
        lambda: kantorch.solve(*tensors_).value.numpy(),
        {"POT ot.emd2 in a loop": loop},
        error=_relative(loop()),
        tolerance=1e-9,
    )


def bench_exact_forward_and_backward(benchmark: Any) -> None:
    ot = installed("ot")
    cost, a, b = tensors(*clouds(64, batch=256))

    def ours() -> torch.Tensor:
        leaf = cost.clone().requires_grad_()
        return torch.autograd.grad(kantorch.solve(leaf, a, b).value.sum(), leaf)[0]

    def loop() -> torch.Tensor:
        leaf = cost.clone().requires_grad_()
        values = [ot.emd2(a[k], b[k], leaf[k]) for k in range(len(cost))]
        return torch.autograd.grad(torch.stack(values).sum(), leaf)[0]

    reference = loop()
    race(
        benchmark,
        "exact, 256 problems of n=64 with gradients",
        ours,
        {"POT ot.emd2 in a loop": loop},
        error=lambda gradient: float((gradient - reference).abs().max()),
        tolerance=1e-12,
    )
