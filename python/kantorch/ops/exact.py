"""Unregularised optimal transport as an op, differentiable by the envelope theorem."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from kantorch.errors import Status
from kantorch.ops._backend import Execution, core
from kantorch.ops._define import define
from kantorch.ops._gradients import mass_gradients
from kantorch.ops._layout import Problem, batch_of, lead_of, start
from kantorch.ops._values import check_potentials, check_values, warn_unless_converged
from kantorch.ops.gibbs import reduce_batch


class ExactOutputs(NamedTuple):
    """What the core's ExactResult holds, in its order; see csrc/core/exact.hpp."""

    value: Tensor
    f: Tensor
    g: Tensor
    plan_row: Tensor
    plan_col: Tensor
    plan_mass: Tensor
    marginal_error: Tensor
    n_iter: Tensor
    status: Tensor


def empty_outputs(device: torch.device, lead: tuple[int, ...], n: int, m: int) -> ExactOutputs:
    """What the kernel fills, contiguous: for a batch with `lead` = (B,), for a single problem without."""
    double = torch.float64  # shapes as separate integers, and those of others, are the quickest
    value = torch.empty(lead, dtype=double, device=device)
    row = torch.empty(*lead, n + m - 1, dtype=torch.int64, device=device)
    return ExactOutputs(
        value=value,
        f=torch.empty(*lead, n, dtype=double, device=device),
        g=torch.empty(*lead, m, dtype=double, device=device),
        plan_row=row,
        plan_col=torch.empty_like(row),
        plan_mass=torch.empty(*lead, n + m - 1, dtype=double, device=device),
        marginal_error=torch.empty_like(value),
        n_iter=torch.empty(lead, dtype=torch.int64, device=device),
        status=torch.empty(lead, dtype=torch.int32, device=device),
    )


def _kernel(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    max_iter: int,
    threads: int,
) -> Any:
    problem = Problem.stored(cost, a, b)
    execution = Execution.of(cost, threads)
    check_values(problem, execution)
    lead = lead_of((cost, 2), (a, 1), (b, 1))
    out = empty_outputs(cost.device, lead, problem.n, problem.m)
    if problem.batch:
        check_potentials(f_init, g_init)
        f, g = start(f_init, g_init)
        worst = core.exact(problem, f, g, max_iter, out, execution)
        if worst > Status.FIXED_ITERATIONS:
            warn_unless_converged("exact", out.status, out.marginal_error)
    return out


def _fake(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    max_iter: int,
    threads: int,
) -> Any:
    return empty_outputs(cost.device, (batch_of((cost, 2), (a, 1), (b, 1)),), *cost.shape[-2:])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: ExactOutputs) -> None:
    cost, a, b, *_ = inputs
    _, f, g, plan_row, plan_col, plan_mass, *rest = output
    ctx.mark_non_differentiable(f, g, plan_row, plan_col, plan_mass, *rest)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(cost, a, b, f, g, plan_row, plan_col, plan_mass)


def _backward(ctx: Any, grads: Any) -> tuple[Any, ...]:
    cost, a, b, f, g, plan_row, plan_col, plan_mass = ctx.saved_tensors
    grad_value = grads.value
    if grad_value is None:
        return (None,) * 7
    grad_cost = None
    if ctx.needs_input_grad[0]:
        mass = (plan_mass * grad_value[:, None]).to(cost.dtype)
        grad_cost = scatter_plan(plan_row, plan_col, mass, cost.shape[-2], cost.shape[-1])
        grad_cost = reduce_batch(grad_cost, cost)
    return (
        grad_cost,
        *mass_gradients(grad_value, f, g, a, b, ctx.needs_input_grad[1:3]),
        *(None,) * 4,
    )


def scatter_plan(plan_row: Tensor, plan_col: Tensor, mass: Tensor, n: int, m: int) -> Tensor:
    """The dense (B, n, m) plan of a sparse one; empty slots add nothing to cell (0, 0)."""
    dense = mass.new_zeros((mass.shape[0], n * m))
    return dense.scatter_add_(1, plan_row * m + plan_col, mass).reshape(-1, n, m)


# (cost, a, b, f_init, g_init, max_iter (-1: unlimited), threads) -> ExactOutputs, of which value is differentiable.
exact = define(
    "exact(Tensor cost, Tensor a, Tensor b, Tensor? f_init, Tensor? g_init, int max_iter, "
    "int threads)",
    outputs=ExactOutputs,
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 1, 1, 1, 1, None, None),
    setup_context=_setup_context,
    backward=_backward,
)
