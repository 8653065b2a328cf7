"""The solvers on a GPU beside loops in torch there, and what a read of the costs takes.

`python benchmarks/report.py --device cuda` runs these and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import kantorch
from peers import optional, pot_sinkhorn, torch_ipot, torch_sinkhorn
from race import Solver, race, relative_to
from workloads import clouds, points, tensors

ITERATIONS = 100
pytestmark = pytest.mark.device("cuda")


def until_done(work: Callable[[], Tensor]) -> Solver:
    """The work and the wait for it, as a launch returns before its kernel has ended."""

    def waited() -> Tensor:
        answer = work()
        torch.cuda.synchronize()
        return answer

    return waited


def on_device(device: str, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Copies there."""
    return tuple(tensor.to(device) for tensor in tensors)


def reads(cost: Tensor, times: int) -> Solver:
    """Every cost read so often: no streamed iteration can take less."""

    def work() -> Tensor:
        for _ in range(times):
            total = cost.sum()
        return total

    return until_done(work)


def some(n: int) -> slice:
    """So many problems of a batch that a reference in float64 finds room."""
    return slice(0, max(1, 2**22 // n**2))


@pytest.mark.parametrize(("batch", "n"), [(4096, 64), (256, 256), (1, 2048), (1, 8192)])
def bench_sinkhorn(benchmark: Any, device: str, batch: int, n: int) -> None:
    cost, a, b = on_device(device, *tensors(*clouds(n, batch=batch), dtype=torch.float32))
    reg = 0.05
    few = some(n)
    reference = torch_sinkhorn(
        cost[few].double(), a[few].double(), b[few].double(), reg, ITERATIONS
    )

    error = relative_to(reference)
    pot = pot_sinkhorn(cost, a, b, reg, ITERATIONS)
    race(
        benchmark,
        f"sinkhorn on {device}, {ITERATIONS} iterations float32, {batch} x {n} x {n}",
        until_done(
            lambda: kantorch.solve(cost, a, b, reg=reg, tol=0.0, max_iter=ITERATIONS).value_linear
        ),
        {
            "torch logsumexp": until_done(lambda: torch_sinkhorn(cost, a, b, reg, ITERATIONS)),
            "POT ot.solve_batch": until_done(pot) if pot is not None else None,
        },
        error=lambda value: error(value[few]),
        tolerance=1e-5,
        tolerances={"POT ot.solve_batch": 1e-3, "torch logsumexp": 1e-3},
        floors={
            "the costs read once": reads(cost, 1),
            "the costs read once an iteration": reads(cost, ITERATIONS),
        },
    )


@pytest.mark.parametrize(("batch", "n"), [(1, 10_000), (1, 50_000), (64, 1024)])
def bench_points(benchmark: Any, device: str, batch: int, n: int) -> None:
    x, y = on_device(device, *points(batch * n, d=64))
    x, y = (cloud.reshape(batch, n, 64) for cloud in (x, y))
    reg, iterations = 1.0, 20

    def ours() -> Tensor:
        return kantorch.solve_sample(x, y, reg=reg, tol=0.0, max_iter=iterations).value_linear

    def loop() -> Tensor:
        uniform = torch.full((1, n), 1 / n, device=x.device)
        costs = ((torch.cdist(x[k : k + 1], y[k : k + 1]) ** 2) for k in range(batch))
        return torch.cat([torch_sinkhorn(c, uniform, uniform, reg, iterations) for c in costs])

    double = (cloud.double() for cloud in (x, y))
    reference = kantorch.solve_sample(*double, reg=reg, tol=0.0, max_iter=iterations).value_linear
    race(
        benchmark,
        f"sinkhorn between points on {device}, d=64, {iterations} iterations, {batch} x {n}",
        until_done(ours),
        {"torch, cost in memory": until_done(loop) if n <= 10_000 else None},
        error=relative_to(reference),
        tolerance=1e-4,
        tolerances={"torch, cost in memory": 1e-3},
    )


@pytest.mark.parametrize(("batch", "n"), [(4096, 64), (64, 256)])
def bench_exact(benchmark: Any, device: str, batch: int, n: int) -> None:
    ot = optional("ot")
    here = tensors(*clouds(n, batch=batch))
    there = on_device(device, *here)
    reference = kantorch.solve(*here).value

    def pot() -> Tensor:
        values = [ot.emd2(*problem) for problem in zip(here[1], here[2], here[0], strict=True)]
        return torch.stack([torch.as_tensor(value) for value in values])

    race(
        benchmark,
        f"exact on {device}, general weights, {batch} x {n} x {n}",
        until_done(lambda: kantorch.solve(*there).value.cpu()),
        {
            "kantorch on the CPU": lambda: kantorch.solve(*here).value,
            "POT ot.emd2, a loop": pot if ot is not None else None,
        },
        error=relative_to(reference),
        tolerance=1e-9,
    )


@pytest.mark.parametrize(("batch", "n"), [(1024, 256)])
def bench_ipot(benchmark: Any, device: str, batch: int, n: int) -> None:
    cost, a, b = on_device(device, *tensors(*clouds(n, batch=batch), dtype=torch.float32))
    beta = 0.1
    few = some(n)
    reference = torch_ipot(cost[few].double(), a[few].double(), b[few].double(), beta, ITERATIONS)
    error = relative_to(reference)
    race(
        benchmark,
        f"ipot on {device}, {ITERATIONS} iterations float32, {batch} x {n} x {n}",
        until_done(
            lambda: (
                kantorch.solve(
                    cost, a, b, method="ipot", beta=beta, tol=0.0, max_iter=ITERATIONS
                ).value
            )
        ),
        {"torch, dense plan": until_done(lambda: torch_ipot(cost, a, b, beta, ITERATIONS))},
        error=lambda value: error(value[few]),
        tolerance=2e-5,
        tolerances={"torch, dense plan": 1e-3},
        floors={"the costs read once an iteration": reads(cost, ITERATIONS)},
    )
