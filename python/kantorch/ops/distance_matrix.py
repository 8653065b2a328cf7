"""The costs between points as every solve computes them, bit for bit: what a plan is made of."""

from __future__ import annotations

import torch
from torch import Tensor

from kantorch.ops._backend import Execution, core
from kantorch.ops._define import define
from kantorch.ops._layout import Problem, batch_of
from kantorch.ops.distance import distances


def solved_distances(x: Tensor, y: Tensor, metric: str) -> Tensor:
    """The costs (n, m) or (B, n, m) that belong to the potentials of a solve, differentiable.

    Those of torch differ in their last digits, which are large beside reg where reg is small or the
    clouds are far from each other.
    """
    with torch.no_grad():
        solved: Tensor = distance_matrix(x.detach(), y.detach(), metric)
    if x.ndim == 2 and y.ndim == 2:
        solved = solved[0]
    if not torch.is_grad_enabled() and torch._C._get_tracing_state() is None:
        return solved  # a trace is made with and checked without gradients, and must be the same
    # Numbers this near to each other have an exact difference (Sterbenz), so the sum is `solved`.
    differentiable = distances(x, y, metric)
    return differentiable + (solved - differentiable.detach())


def _kernel(x: Tensor, y: Tensor, metric: str) -> Tensor:
    n, m = x.shape[-2], y.shape[-2]
    problem = Problem.between(x, y, metric, x.new_ones(n), y.new_ones(m))
    out = x.new_empty(problem.shape)
    if problem.batch:
        core.distance_matrix(problem, out, Execution.of(x, 0))
    return out


def _fake(x: Tensor, y: Tensor, metric: str) -> Tensor:
    return x.new_empty(batch_of((x, 2), (y, 2)), x.shape[-2], y.shape[-2])


# (x, y, metric) -> (B, n, m)
distance_matrix = define(
    "distance_matrix(Tensor x, Tensor y, str metric) -> Tensor",
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 2, None),
)
