"""What kantorch is raced against: other libraries if installed, and plain torch loops."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

CHUNK = 256  # points whose distances to all others are at hand at a time; the fastest of 64 to 2048


def installed(name: str) -> Any:
    """Import the peer that a benchmark cannot do without, or skip the benchmark visibly."""
    return pytest.importorskip(name, reason=f"peer {name} is not installed")


def optional(name: str) -> Any | None:
    """Import a further peer; the table says which were absent."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def ott_sinkhorn(cost: Tensor, a: Tensor, b: Tensor, reg: float, iterations: int) -> Any:
    """OTT-JAX's log-domain Sinkhorn, compiled and vectorised over the batch; None if absent."""
    if optional("ott") is None:
        return None
    import jax
    import jax.numpy as jnp
    from ott.geometry import geometry
    from ott.problems.linear import linear_problem
    from ott.solvers.linear import sinkhorn

    solver = sinkhorn.Sinkhorn(
        threshold=0.0,
        min_iterations=iterations,
        max_iterations=iterations,
        inner_iterations=iterations,
    )

    def one(cost: Any, a: Any, b: Any) -> Any:
        geom = geometry.Geometry(cost_matrix=cost, epsilon=reg)
        out = solver(linear_problem.LinearProblem(geom, a=a, b=b))
        return (out.matrix * cost).sum()

    solve = jax.jit(jax.vmap(one))
    arrays = [jnp.asarray(t.numpy()) for t in (cost, a, b)]
    return lambda: torch.from_numpy(np.array(solve(*arrays)))


def torch_sinkhorn(cost: Tensor, a: Tensor, b: Tensor, reg: float, iterations: int) -> Tensor:
    """Log-domain Sinkhorn as it is written in a few lines of torch; returns the plan's cost."""
    log_a, log_b = a.log(), b.log()
    kernel = -cost / reg
    g = torch.zeros_like(b)
    for _ in range(iterations):
        f = log_a - torch.logsumexp(kernel + g.unsqueeze(-2), -1)
        g = log_b - torch.logsumexp(kernel + f.unsqueeze(-1), -2)
    plan = torch.exp(kernel + f.unsqueeze(-1) + g.unsqueeze(-2))
    return (plan * cost).sum((-2, -1))


def pot_sinkhorn(cost: Tensor, a: Tensor, b: Tensor, reg: float, iterations: int) -> Any:
    """POT's batched log-domain Sinkhorn; None if absent."""
    ot = optional("ot")
    if ot is None:
        return None
    return lambda: (
        ot.solve_batch(
            cost,
            a=a,
            b=b,
            reg=reg,
            max_iter=iterations,
            tol=0.0,
            method="log_sinkhorn",
            grad="detach",
        ).value_linear
    )


def torch_ipot(cost: Tensor, a: Tensor, b: Tensor, beta: float, iterations: int) -> Tensor:
    """The inexact proximal point method with a dense plan, one inner step; returns its cost."""
    kernel = torch.exp(-cost / beta)
    plan = torch.ones_like(cost)
    right = torch.full_like(b, 1 / b.shape[-1])
    for _ in range(iterations):
        proximal = kernel * plan
        left = a / (proximal * right.unsqueeze(-2)).sum(-1)
        right = b / (proximal * left.unsqueeze(-1)).sum(-2)
        plan = left.unsqueeze(-1) * proximal * right.unsqueeze(-2)
    return (plan * cost).sum((-2, -1))


def torch_points_sinkhorn(x: Tensor, y: Tensor, reg: float, iterations: int) -> float:
    """Log-domain Sinkhorn with squared Euclidean costs made in chunks, uniform weights.

    Returns the dual value.
    """
    x, y = x - x.mean(0), y - x.mean(0)
    # log b + (g_j - |x_i - y_j|^2) / reg = 2 <x_i, y_j> / reg + parts of i and of j alone
    x_part, y_part = x.square().sum(-1) / reg, y.square().sum(-1) / reg

    def softmin(x: Tensor, x_part: Tensor, y: Tensor, height: Tensor) -> Tensor:
        transposed = y.T.contiguous()
        out = torch.empty(len(x))
        for start in range(0, len(x), CHUNK):
            chunk = slice(start, start + CHUNK)
            exponents = torch.addmm(height, x[chunk], transposed, alpha=2 / reg)
            out[chunk] = x_part[chunk] - torch.logsumexp(exponents, -1)
        return out

    log_a, log_b = -math.log(len(x)), -math.log(len(y))
    g = torch.zeros(len(y))
    for _ in range(iterations):
        f = softmin(x, x_part, y, g - y_part + log_b)
        g = softmin(y, y_part, x, f - x_part + log_a)
    return reg * float(f.mean() + g.mean())
