"""A certified lower bound on the unregularised optimum, from any potentials."""

from __future__ import annotations

import torch
from torch import Tensor

from kantorch.ops._backend import core, thread_count
from kantorch.ops._define import define
from kantorch.ops._layout import Problem, contiguous, vector_argument


def _bound(problem: Problem, f: Tensor, g: Tensor, threads: int) -> Tensor:
    bound = torch.empty(problem.batch, dtype=torch.float64)
    if problem.batch:
        f, g = contiguous(f), contiguous(g)
        cost_, a_, b_ = problem.arguments
        core.dual_bound(
            problem.dtype,
            cost_,
            problem.points_argument,
            vector_argument(f),
            vector_argument(g),
            a_,
            b_,
            bound.data_ptr(),
            thread_count(threads),
        )
    return bound


def _kernel(cost: Tensor, f: Tensor, g: Tensor, a: Tensor, b: Tensor, threads: int) -> Tensor:
    return _bound(Problem.of(cost, a, b, f[..., 0]), f, g, threads)


def _fake(cost: Tensor, f: Tensor, g: Tensor, a: Tensor, b: Tensor, threads: int) -> Tensor:
    return f.new_empty(f.shape[0])


def _points_kernel(
    x: Tensor, y: Tensor, f: Tensor, g: Tensor, a: Tensor, b: Tensor, metric: str, threads: int
) -> Tensor:
    return _bound(Problem.of_points(x, y, a, b, metric, f[..., 0]), f, g, threads)


def _points_fake(
    x: Tensor, y: Tensor, f: Tensor, g: Tensor, a: Tensor, b: Tensor, metric: str, threads: int
) -> Tensor:
    return f.new_empty(f.shape[0])


# (cost, f (B, n), g (B, m), a, b, threads) -> (B,): the value of the feasible dual point that c-transforms make
# from f and g, in float64.
dual_bound = define(
    "dual_bound(Tensor cost, Tensor f, Tensor g, Tensor a, Tensor b, int threads) -> Tensor",
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 1, 1, 1, 1, None),
)

# The same with points x (n, d), y (m, d) in place of their cost, which is not stored.
dual_bound_points = define(
    "dual_bound_points(Tensor x, Tensor y, Tensor f, Tensor g, Tensor a, Tensor b, str metric, "
    "int threads) -> Tensor",
    kernel=_points_kernel,
    fake=_points_fake,
    own_dims=(2, 2, 1, 1, 1, 1, None, None),
)
