"""The inexact proximal point method as an op, differentiable by the envelope theorem."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kantorch import _core
from kantorch.ops import scaling
from kantorch.ops.envelope import mass_gradients
from kantorch.ops.gibbs import gibbs, reduce_batch
from kantorch.ops.problem import (
    Problem,
    batch_of,
    check_values,
    thread_count,
    warn_unless_converged,
)
from kantorch.ops.problem import scalars as per_problem
from kantorch.ops.registration import define


def _kernel(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    beta: Tensor | None,
    f_init: Tensor | None,
    g_init: Tensor | None,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    problem = Problem.of(cost, a, b, beta)
    if beta is None:
        check_values(problem, thread_count(threads))
        strength = torch.full((problem.batch,), -1.0, dtype=torch.float64)  # the core's default
    else:
        strength = per_problem(beta, problem.batch)
        check_values(problem, thread_count(threads), strength=strength, name="beta")
    out: scaling.Outputs = scaling.run(
        _core.ipot,
        _core.ipot_workspace,
        problem,
        strength,
        f_init,
        g_init,
        tol,
        max_iter,
        threads,
    )
    f, g, eps, *_, marginal_error, _, status = out
    _to_scalings(problem, f, g, eps)
    warn_unless_converged("ipot", status, marginal_error)
    return out


def _to_scalings(problem: Problem, f: Tensor, g: Tensor, eps: Tensor) -> None:
    """Turn the core's potentials, whose plan carries a and b, into eps log U and eps log V.

    At zero mass, where these are -inf, the c-transform stands in: the largest value that keeps the
    dual feasible there.
    """
    a = problem.a.double().expand_as(f)
    b = problem.b.double().expand_as(g)
    f += eps[:, None] * torch.where(a > 0, a, 1).log()
    g += eps[:, None] * torch.where(b > 0, b, 1).log()
    for k in torch.nonzero((a == 0).any(-1) | (b == 0).any(-1))[:, 0].tolist():
        cost = problem.cost[k] if problem.cost.ndim == 3 else problem.cost
        rows, columns = a[k] > 0, b[k] > 0
        if bool(rows.any()):
            slack = cost[rows][:, ~columns].double() - f[k, rows, None]
            g[k, ~columns] = slack.amin(0)
        f[k, ~rows] = (cost[~rows].double() - g[k]).amin(-1)


def _fake(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    beta: Tensor | None,
    f_init: Tensor | None,
    g_init: Tensor | None,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    return scaling.outputs(cost, batch_of(cost, a, b, scalars=beta), *cost.shape[-2:])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: scaling.Outputs) -> None:
    cost, a, b, *_, ctx.threads = inputs
    f, g, eps, _, *rest = output
    ctx.mark_non_differentiable(f, g, eps, *rest)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(cost, a, b, f, g, eps)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    cost, a, b, f, g, eps = ctx.saved_tensors
    grad_value = grads[3]
    if grad_value is None:
        return (None,) * 9
    grad_cost = None
    if ctx.needs_input_grad[0]:
        cost_, a_, b_ = cost.detach(), a.detach(), b.detach()
        x = (a_ > 0).to(cost.dtype) * grad_value.to(cost.dtype)[:, None]
        plan = gibbs(cost_, f, g, x, (b_ > 0).to(cost.dtype), eps, ctx.threads)
        grad_cost = reduce_batch(plan, cost)
    return grad_cost, *mass_gradients(grad_value, f, g, a, b), *(None,) * 6


# (cost, a, b, beta () or (B,) float64, f_init, g_init, tol, max_iter, threads) -> scaling.Outputs, of which value is
# differentiable. f = eps log U and g = eps log V: the plan is gibbs(cost, f, g, a > 0, b > 0, eps).
ipot = define(
    "ipot(Tensor cost, Tensor a, Tensor b, Tensor? beta, Tensor? f_init, Tensor? g_init, "
    f"float tol, int max_iter, int threads) -> {scaling.OUTPUT_SCHEMA}",
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 1, 1, 0, 1, 1, None, None, None),
    setup_context=_setup_context,
    backward=_backward,
)
