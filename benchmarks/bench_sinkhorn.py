"""Sinkhorn beside a torch logsumexp loop and POT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import kantorch
from bare_pass import bare_passes
from peers import installed, optional, ott_sinkhorn, pot_sinkhorn, torch_sinkhorn
from race import race, relative_to
from workloads import clouds, tensors, uniform_clouds

ITERATIONS = 100
SIZES = [(64, 64), (16, 256), (1, 1024), (1, 2048)]


@pytest.mark.parametrize(("batch", "n"), SIZES)
def bench_sinkhorn_fixed_iterations(benchmark: Any, batch: int, n: int) -> None:
    installed("ot")
    cost, a, b = tensors(*clouds(n, batch=batch), dtype=torch.float32)
    reg = 0.05
    reference = torch_sinkhorn(cost.double(), a.double(), b.double(), reg, ITERATIONS)

    def ours() -> torch.Tensor:
        return kantorch.solve(cost, a, b, reg=reg, tol=0.0, max_iter=ITERATIONS).value_linear

    race(
        benchmark,
        f"sinkhorn, {ITERATIONS} iterations float32, {batch} x {n} x {n}",
        ours,
        {
            "torch logsumexp": lambda: torch_sinkhorn(cost, a, b, reg, ITERATIONS),
            "POT ot.solve_batch": pot_sinkhorn(cost, a, b, reg, ITERATIONS),
            "OTT-JAX": ott_sinkhorn(cost, a, b, reg, ITERATIONS),
        },
        error=relative_to(reference),
        tolerance=1e-5,
        tolerances={"POT ot.solve_batch": 1e-3, "torch logsumexp": 1e-3, "OTT-JAX": 1e-3},
        floors={"bare multiply-adds over a stored matrix": bare_passes(cost, ITERATIONS)},
    )


@pytest.mark.parametrize("dtype", [torch.float64], ids=str)
@pytest.mark.parametrize("fraction", [1e-2, 1e-3])
def bench_sinkhorn_to_tolerance(benchmark: Any, fraction: float, dtype: torch.dtype) -> None:
    ot = installed("ot")
    arrays = uniform_clouds(1000)
    cost_array = arrays[0] / arrays[0].max()
    cost, a, b = tensors(cost_array, *arrays[1:], dtype=dtype)
    tol = 1e-6

    def marginal_error(plan: Any) -> float:
        plan = np.asarray(plan)
        return float(np.abs(plan.sum(1) - arrays[1]).sum() + np.abs(plan.sum(0) - arrays[2]).sum())

    def pot() -> Any:
        # POT stops on the L2 error of one marginal.
        return ot.bregman.sinkhorn_log(
            arrays[1],
            arrays[2],
            cost_array,
            fraction,
            stopThr=tol / 40,
            numItermax=1000,
            warn=False,
        )

    regot = optional("regot")
    peers = {"POT sinkhorn_log (at most 1000 iterations)": pot}
    for solver in ("bcd", "lbfgs_dual", "ssns", "splr"):
        peers[f"RegOT {solver}"] = regot and _regot(
            getattr(regot, f"sinkhorn_{solver}"), cost_array, arrays, fraction, tol
        )
    race(
        benchmark,
        f"sinkhorn to 1e-6, n=1000, reg={fraction} of the maximum, {str(dtype)[6:]}",
        lambda: kantorch.solve(cost, a, b, reg=fraction, tol=tol).check().plan,
        peers,
        error=marginal_error,
        tolerance=2 * tol,
        tolerances=dict.fromkeys(peers, 1.0),
        seconds=20,
    )


def _regot(solver: Any, cost: np.ndarray, arrays: Any, reg: float, tol: float) -> Any:
    return lambda: solver(cost, arrays[1], arrays[2], reg, tol, 1000).plan
