"""What the solvers of the scaling family share: their outputs, how to ask for them, and their masses' derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kantorch.errors import Status
from kantorch.ops._backend import Execution
from kantorch.ops._layout import Problem, batch_of, start
from kantorch.ops._values import check_potentials, check_values, warn_unless_converged
from kantorch.ops.cost import cost_of


class ScalingOutputs(NamedTuple):
    """What the core's ScalingResult holds; see csrc/core/scaling.hpp."""

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
        f=like.new_empty((batch, n), dtype=double),
        g=like.new_empty((batch, m), dtype=double),
        eps=like.new_empty(batch, dtype=double),
        value=like.new_empty(batch, dtype=double),
        value_linear=like.new_empty(batch, dtype=double),
        row_sum=like.new_empty((batch, n), dtype=double),
        col_sum=like.new_empty((batch, m), dtype=double),
        marginal_error=like.new_empty(batch, dtype=double),
        bound=like.new_empty(batch, dtype=double),
        n_iter=like.new_empty(batch, dtype=torch.int64),
        status=like.new_empty(batch, dtype=torch.int32),
    )


def fake(
    cost: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    metric: str,
    a: Tensor,
    b: Tensor,
    strength: Tensor | None,
    *_: Any,
) -> Any:
    """The fake kernel of a solver."""
    batch = batch_of((cost, 2), (x, 2), (y, 2), (a, 1), (b, 1), (strength, 0))
    return empty_outputs(a, batch, *cost_of(cost, x, y, metric).shape[-2:])


def run(
    kernel: Callable[..., None],
    problem: Problem,
    strength: Tensor | None,
    strength_name: str,
    f_init: Tensor | None,
    g_init: Tensor | None,
    tol: float,
    max_iter: int,
    threads: int,
) -> ScalingOutputs:
    """Check the values of a problem and run a solver of the family on it.

    Args:
        kernel: of the core.
        problem: see `Problem`.
        strength: reg or beta, (B,) float64, contiguous; None leaves it to the core.
        strength_name: what the user calls it.
        f_init: (n,) or (B, n), a start; likewise g_init.
        g_init: see `f_init`.
        tol: see `solve`; likewise max_iter.
        max_iter: see `tol`.
        threads: see `Execution`.
    """
    execution = Execution.of(problem.a, threads)
    check_values(problem, execution, strength=strength, name=strength_name)
    out = empty_outputs(problem.a, *problem.shape)
    if problem.batch:
        check_potentials(f_init, g_init)
        f, g = start(f_init, g_init)
        kernel(problem, strength, f, g, tol, max_iter, out, execution)
    return out


def finish(
    method: str,
    out: ScalingOutputs,
    dtype: torch.dtype,
    *,
    tol: float = 0.0,
    gap: Tensor | None = None,
) -> None:
    """Take back a success whose value the dtype cannot hold, as it is no answer, and warn of what failed."""
    beyond = ~torch.isfinite(out.value.to(dtype)) & (out.status != int(Status.BAD_INPUT))
    out.status.masked_fill_(beyond, int(Status.PRECISION_LIMIT))
    warn_unless_converged(method, out.status, out.marginal_error, tol=tol, gap=gap, beyond=beyond)
