"""What the solvers of the scaling family share: their outputs and how to ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from kantorch.ops._backend import thread_count, workspace
from kantorch.ops._layout import Problem, potential_arguments
from kantorch.ops._values import check_potentials


class ScalingOutputs(NamedTuple):
    """What the core's ScalingResult holds, in its order; see csrc/core/scaling.hpp."""

    f: Tensor
    g: Tensor
    eps: Tensor
    value: Tensor
    value_linear: Tensor
    row_sum: Tensor
    col_sum: Tensor
    marginal_error: Tensor
    bound: Tensor
    n_iter: Tensor
    status: Tensor


def empty_outputs(like: Tensor, batch: int, n: int, m: int) -> ScalingOutputs:
    """Empty outputs, float64 but for the counters."""
    double = torch.float64
    return ScalingOutputs(
        like.new_empty((batch, n), dtype=double),
        like.new_empty((batch, m), dtype=double),
        like.new_empty(batch, dtype=double),
        like.new_empty(batch, dtype=double),
        like.new_empty(batch, dtype=double),
        like.new_empty((batch, n), dtype=double),
        like.new_empty((batch, m), dtype=double),
        like.new_empty(batch, dtype=double),
        like.new_empty(batch, dtype=double),
        like.new_empty(batch, dtype=torch.int64),
        like.new_empty(batch, dtype=torch.int32),
    )


def run(
    kernel: Callable[..., None],
    kernel_workspace: Callable[..., int],
    problem: Problem,
    strength: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    tol: float,
    max_iter: int,
    threads: int,
) -> ScalingOutputs:
    """Run a solver of the family on a problem whose values have been checked."""
    to = empty_outputs(problem.a, *problem.shape)
    if problem.batch:
        check_potentials(f_init, g_init)
        keep, f_, g_ = potential_arguments(f_init, g_init)
        cost_, a_, b_ = problem.arguments
        threads = thread_count(threads)
        points_ = problem.points_argument
        scratch = workspace(kernel_workspace(problem.dtype, cost_, points_, tol, threads))
        addresses = tuple(tensor.data_ptr() for tensor in to)
        kernel(
            problem.dtype,
            cost_,
            points_,
            a_,
            b_,
            strength.data_ptr(),
            f_,
            g_,
            tol,
            max_iter,
            addresses,
            scratch.data_ptr(),
            threads,
        )
        del keep
    return to
