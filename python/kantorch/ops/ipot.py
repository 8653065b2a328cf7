"""The inexact proximal point method as an op, differentiable by the envelope theorem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kantorch.ops import scaling
from kantorch.ops._backend import core, thread_count
from kantorch.ops._define import define
from kantorch.ops._gradients import mass_gradients
from kantorch.ops._layout import Problem, batch_of, points_batch_of
from kantorch.ops._layout import scalars as per_problem
from kantorch.ops._values import check_values, warn_unless_converged
from kantorch.ops.distance import check_points, distances
from kantorch.ops.gibbs import gibbs, reduce_batch
from kantorch.ops.point_gradient import point_gradient


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
    return _solve(Problem.of(cost, a, b, beta), beta, f_init, g_init, tol, max_iter, threads)


def _solve(
    problem: Problem,
    beta: Tensor | None,
    f_init: Tensor | None,
    g_init: Tensor | None,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    if beta is None:
        check_values(problem, thread_count(threads))
        strength = torch.full((problem.batch,), -1.0, dtype=torch.float64)  # the core's default
    else:
        strength = per_problem(beta, problem.batch)
        check_values(problem, thread_count(threads), strength=strength, name="beta")
    out = scaling.run(
        core.ipot,
        core.ipot_workspace,
        problem,
        strength,
        f_init,
        g_init,
        tol,
        max_iter,
        threads,
    )
    warn_unless_converged(
        "ipot", out.status, out.marginal_error, tol=tol, gap=out.value_linear - out.bound
    )
    return out


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
    return scaling.empty_outputs(cost, batch_of(cost, a, b, scalars=beta), *cost.shape[-2:])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: scaling.ScalingOutputs) -> None:
    cost, a, b, *_, ctx.threads = inputs
    ctx.mark_non_differentiable(*(o for o in output if o is not output.value))
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(cost, a, b, output.f, output.g, output.eps)


def _backward(ctx: Any, grads: Any) -> tuple[Any, ...]:
    cost, a, b, f, g, eps = ctx.saved_tensors
    grad_value = grads.value
    if grad_value is None:
        return (None,) * 9
    need_cost, need_a, need_b = ctx.needs_input_grad[:3]
    cost_, a_, b_ = cost.detach(), a.detach(), b.detach()
    grad_cost = grad_a = grad_b = None
    if need_cost:
        x = a_ * grad_value.to(cost.dtype)[:, None]
        grad_cost = reduce_batch(gibbs(cost_, f, g, x, b_, eps, ctx.threads), cost)
    if need_a or need_b:
        log_u, log_v = scaling_potentials(cost_, f, g, a_, b_, eps)
        grad_a, grad_b = mass_gradients(grad_value, log_u, log_v, a, b)
    return grad_cost, grad_a, grad_b, *(None,) * 6


def _scaling_kernel(
    cost: Tensor, f: Tensor, g: Tensor, a: Tensor, b: Tensor, eps: Tensor
) -> tuple[Tensor, Tensor]:
    def part(k: int, rows: Tensor, columns: Tensor) -> Tensor:
        matrix = cost[k] if cost.ndim == 3 else cost
        return matrix[rows][:, columns]

    return _complete(part, f, g, a, b, eps)


def _complete(
    part: Callable[[int, Tensor, Tensor], Tensor],
    f: Tensor,
    g: Tensor,
    a: Tensor,
    b: Tensor,
    eps: Tensor,
) -> tuple[Tensor, Tensor]:
    """The scalings' potentials, where part(k, rows, columns) are costs of problem k."""
    batch = f.shape[0]
    a = a.double().expand_as(f)
    b = b.double().expand_as(g)
    eps = per_problem(eps, batch)
    f = f + eps[:, None] * torch.where(a > 0, a, 1).log()
    g = g + eps[:, None] * torch.where(b > 0, b, 1).log()
    for k in torch.nonzero((a == 0).any(-1) | (b == 0).any(-1))[:, 0].tolist():
        rows, columns = a[k] > 0, b[k] > 0
        if bool(rows.any()):
            slack = part(k, rows, ~columns).double() - f[k, rows, None]
            g[k, ~columns] = slack.amin(0)
        every = torch.ones_like(columns)
        f[k, ~rows] = (part(k, ~rows, every).double() - g[k]).amin(-1)
    return f, g


def _scaling_fake(
    cost: Tensor, f: Tensor, g: Tensor, a: Tensor, b: Tensor, eps: Tensor
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(f), torch.empty_like(g)


def _scaling_points_kernel(
    x: Tensor,
    y: Tensor,
    f: Tensor,
    g: Tensor,
    a: Tensor,
    b: Tensor,
    eps: Tensor,
    metric: str,
) -> tuple[Tensor, Tensor]:
    def part(k: int, rows: Tensor, columns: Tensor) -> Tensor:
        x_, y_ = (p[k] if p.ndim == 3 else p for p in (x, y))
        return distances(x_[rows], y_[columns], metric)

    return _complete(part, f, g, a, b, eps)


def _scaling_points_fake(
    x: Tensor,
    y: Tensor,
    f: Tensor,
    g: Tensor,
    a: Tensor,
    b: Tensor,
    eps: Tensor,
    metric: str,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(f), torch.empty_like(g)


def _points_kernel(
    x: Tensor,
    y: Tensor,
    a: Tensor,
    b: Tensor,
    beta: Tensor | None,
    f_init: Tensor | None,
    g_init: Tensor | None,
    metric: str,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    check_points(x, y, metric)
    problem = Problem.of_points(x, y, a, b, metric, beta)
    return _solve(problem, beta, f_init, g_init, tol, max_iter, threads)


def _points_fake(
    x: Tensor,
    y: Tensor,
    a: Tensor,
    b: Tensor,
    beta: Tensor | None,
    f_init: Tensor | None,
    g_init: Tensor | None,
    metric: str,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    return scaling.empty_outputs(
        x, points_batch_of(x, y, a, b, scalars=beta), x.shape[-2], y.shape[-2]
    )


def _points_setup_context(
    ctx: Any, inputs: tuple[Any, ...], output: scaling.ScalingOutputs
) -> None:
    x, y, a, b, _, _, _, ctx.metric, *_, ctx.threads = inputs
    ctx.mark_non_differentiable(*(o for o in output if o is not output.value))
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, y, a, b, output.f, output.g, output.eps)


def _points_backward(ctx: Any, grads: Any) -> tuple[Any, ...]:
    saved, grad_value = ctx.saved_tensors, grads.value
    if grad_value is None:
        return (None,) * 11
    x, y, a, b, f, g, eps = (tensor.detach() for tensor in saved)
    need_x, need_y, need_a, need_b = ctx.needs_input_grad[:4]
    scale = grad_value.to(x.dtype)[:, None]
    grad_x = grad_y = grad_a = grad_b = None
    if torch.is_grad_enabled() and (need_x or need_y):
        of_x, of_y = _points_gradients_with_graph(ctx, f, g, a * scale, b, eps)
        grad_x, grad_y = reduce_batch(of_x, x), reduce_batch(of_y, y)
        need_x = need_y = False
    if need_x:
        grad_x = reduce_batch(
            point_gradient(x, y, f, g, a * scale, b, eps, ctx.metric, ctx.threads), x
        )
    if need_y:
        grad_y = reduce_batch(
            point_gradient(y, x, g, f, b * scale, a, eps, ctx.metric, ctx.threads), y
        )
    if need_a or need_b:
        log_u, log_v = scaling_potentials_points(x, y, f, g, a, b, eps, ctx.metric)
        grad_a, grad_b = mass_gradients(grad_value, log_u, log_v, a, b)
    return grad_x, grad_y, grad_a, grad_b, *(None,) * 7


def _points_gradients_with_graph(
    ctx: Any, f: Tensor, g: Tensor, a: Tensor, b: Tensor, eps: Tensor
) -> tuple[Tensor, Tensor]:
    """Those in x and y, to be differentiated again at a constant plan; costs and plan are stored."""
    x, y = (p if p.requires_grad else p.detach().requires_grad_() for p in ctx.saved_tensors[:2])
    clouds = [p.expand(f.shape[0], *p.shape[-2:]) for p in (x, y)]
    cost = distances(clouds[0], clouds[1], ctx.metric)
    plan = gibbs(cost.detach(), f, g, a, b, eps, ctx.threads)
    of_x, of_y = torch.autograd.grad(cost, clouds, plan, create_graph=True)
    return of_x, of_y


# (cost, f, g, a, b, eps) -> (eps log U, eps log V), the paper's scalings as potentials. At zero mass, where they are
# -inf, the c-transform stands in: the largest value that keeps the dual feasible there.
scaling_potentials = define(
    "scaling_potentials(Tensor cost, Tensor f, Tensor g, Tensor a, Tensor b, Tensor eps) "
    "-> (Tensor, Tensor)",
    kernel=_scaling_kernel,
    fake=_scaling_fake,
    own_dims=(2, 1, 1, 1, 1, 0),
)

# The same between points.
scaling_potentials_points = define(
    "scaling_potentials_points(Tensor x, Tensor y, Tensor f, Tensor g, Tensor a, Tensor b, "
    "Tensor eps, str metric) -> (Tensor, Tensor)",
    kernel=_scaling_points_kernel,
    fake=_scaling_points_fake,
    own_dims=(2, 2, 1, 1, 1, 1, 0, None),
)

# (cost, a, b, beta () or (B,) float64, f_init, g_init, tol, max_iter, threads) -> scaling.ScalingOutputs, of which value is
# differentiable. The plan is gibbs(cost, f, g, a, b, eps), so f = eps log (U / a), finite at zero mass.
ipot = define(
    "ipot(Tensor cost, Tensor a, Tensor b, Tensor? beta, Tensor? f_init, Tensor? g_init, "
    "float tol, int max_iter, int threads)",
    outputs=scaling.ScalingOutputs,
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 1, 1, 0, 1, 1, None, None, None),
    setup_context=_setup_context,
    backward=_backward,
)

# The same between points x (n, d), y (m, d), whose cost is not stored.
ipot_points = define(
    "ipot_points(Tensor x, Tensor y, Tensor a, Tensor b, Tensor? beta, Tensor? f_init, "
    "Tensor? g_init, str metric, float tol, int max_iter, int threads)",
    outputs=scaling.ScalingOutputs,
    kernel=_points_kernel,
    fake=_points_fake,
    own_dims=(2, 2, 1, 1, 0, 1, 1, None, None, None, None),
    setup_context=_points_setup_context,
    backward=_points_backward,
)
