"""Entropic optimal transport as a differentiable op."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kantorch.ops import scaling
from kantorch.ops._backend import core, thread_count
from kantorch.ops._define import define
from kantorch.ops._layout import Problem, batch_of, points_batch_of
from kantorch.ops._layout import scalars as per_problem
from kantorch.ops._values import check_values, warn_unless_converged
from kantorch.ops.distance import check_points, distances
from kantorch.ops.gibbs import gibbs, reduce_batch
from kantorch.ops.implicit import implicit
from kantorch.ops.point_gradient import point_gradient


def _kernel(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    reg: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    entropy: bool,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    problem = Problem.of(cost, a, b, reg)
    return _solve(problem, reg, f_init, g_init, entropy, tol, max_iter, threads)


def _solve(
    problem: Problem,
    reg: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    entropy: bool,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    strength = per_problem(reg, problem.batch)
    check_values(problem, thread_count(threads), strength=strength, name="reg")
    out = scaling.run(
        core.sinkhorn,
        core.sinkhorn_workspace,
        problem,
        strength,
        f_init,
        g_init,
        tol,
        max_iter,
        threads,
    )
    if entropy:
        out.value.add_(strength * (_negative_entropy(problem.a) + _negative_entropy(problem.b)))
    warn_unless_converged("sinkhorn", out.status, out.marginal_error)
    return out


def _negative_entropy(weights: Tensor) -> Tensor:
    weights = weights.double()
    entropy: Tensor = torch.special.xlogy(weights, weights).sum(-1)
    return entropy


def _fake(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    reg: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    entropy: bool,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    return scaling.empty_outputs(cost, batch_of(cost, a, b, scalars=reg), *cost.shape[-2:])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: scaling.ScalingOutputs) -> None:
    cost, a, b, _, _, _, ctx.entropy, _, _, ctx.threads = inputs
    ctx.save_for_backward(cost, a, b, output.f, output.g, output.eps)
    ctx.mark_non_differentiable(*output[4:], output.eps)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grads: Any) -> tuple[Any, ...]:
    """Gradient of value by the envelope theorem, of f and g by the implicit function theorem."""
    cost, a, b, f, g, eps = ctx.saved_tensors
    grad_f, grad_g, grad_value = grads.f, grads.g, grads.value
    need_cost, need_a, need_b = ctx.needs_input_grad[:3]
    dtype = cost.dtype
    grad_cost = None
    grad_a, grad_b = _mass_gradients(ctx, grad_value, a, b, f, g, eps, need_a, need_b)
    if grad_value is not None and need_cost:
        # Linear in x: the upstream gradient rides on a, without a buffer of its own.
        x = a * grad_value.to(dtype)[:, None]
        grad_cost = gibbs(cost, f, g, x, b, eps, ctx.threads)
    if grad_f is not None or grad_g is not None:
        more = _implicit_gradients(
            ctx, cost, a, b, f, g, eps, grad_f, grad_g, (need_cost, need_a, need_b)
        )
        grad_cost, grad_a, grad_b = map(_plus, (grad_cost, grad_a, grad_b), more)
    return (
        None if grad_cost is None else reduce_batch(grad_cost, cost),
        None if grad_a is None else reduce_batch(grad_a.to(dtype), a),
        None if grad_b is None else reduce_batch(grad_b.to(dtype), b),
        *(None,) * 7,
    )


def _mass_gradients(
    ctx: Any,
    grad_value: Tensor | None,
    a: Tensor,
    b: Tensor,
    f: Tensor,
    g: Tensor,
    eps: Tensor,
    need_a: bool,
    need_b: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Those of value."""
    grad_a = grad_b = None
    if grad_value is not None:
        if need_a:
            grad_a = grad_value[:, None] * _mass_derivative(f, a, eps, ctx.entropy)
        if need_b:
            grad_b = grad_value[:, None] * _mass_derivative(g, b, eps, ctx.entropy)
    return grad_a, grad_b


def _implicit_gradients(
    ctx: Any,
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    f: Tensor,
    g: Tensor,
    eps: Tensor,
    grad_f: Tensor | None,
    grad_g: Tensor | None,
    need: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Those of the potentials, in cost, a and b."""
    grad_f = torch.zeros_like(f) if grad_f is None else grad_f
    grad_g = torch.zeros_like(g) if grad_g is None else grad_g
    grad_f, grad_g = _project(grad_f, grad_g, a, b)
    left, right = implicit(cost, f, g, a, b, eps, grad_f, grad_g, True, ctx.threads)
    left_, right_ = left.to(cost.dtype), right.to(cost.dtype)
    of_cost = of_a = of_b = None
    if need[0]:
        of_cost = gibbs(cost, f, g, left_, b, eps, ctx.threads)
        of_cost = of_cost + gibbs(cost, f, g, a, right_, eps, ctx.threads)
    if need[1]:
        one = torch.ones_like(left_)
        sums = gibbs(cost, f, g, one, right_, eps, ctx.threads).sum(-1)
        of_a = _centre(-eps[:, None] * sums)
    if need[2]:
        one = torch.ones_like(right_)
        sums = gibbs(cost, f, g, left_, one, eps, ctx.threads).sum(-2)
        of_b = _centre(-eps[:, None] * sums)
    return of_cost, of_a, of_b


def _plus(x: Tensor | None, y: Tensor | None) -> Tensor | None:
    return y if x is None else x if y is None else x + y


def _project(grad_f: Tensor, grad_g: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Pull gradients back through the choice of constant: sum f = sum g over the points with mass."""
    held_f, held_g = (a > 0).expand_as(grad_f), (b > 0).expand_as(grad_g)
    points = (held_f.sum(-1) + held_g.sum(-1)).clamp(min=1)
    excess = ((grad_f.sum(-1) - grad_g.sum(-1)) / points)[:, None]
    return grad_f - excess * held_f, grad_g + excess * held_g


def _centre(gradient: Tensor) -> Tensor:
    return gradient - gradient.mean(-1, keepdim=True)


def _mass_derivative(potential: Tensor, weights: Tensor, eps: Tensor, entropy: bool) -> Tensor:
    """D value / d weights along directions that keep the mass."""
    if not entropy:
        return _centre(potential)
    # At zero mass the derivative is -inf: such a point gets 0 and stays out of the mean.
    held = (weights > 0).expand_as(potential)
    logarithm = torch.where(held, weights, 1).double().log()
    derivative = torch.where(held, potential + eps[:, None] * logarithm, 0)
    mean = derivative.sum(-1, keepdim=True) / held.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(held, derivative - mean, 0)


def _points_kernel(
    x: Tensor,
    y: Tensor,
    a: Tensor,
    b: Tensor,
    reg: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    metric: str,
    entropy: bool,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    check_points(x, y, metric)
    problem = Problem.of_points(x, y, a, b, metric, reg)
    return _solve(problem, reg, f_init, g_init, entropy, tol, max_iter, threads)


def _points_fake(
    x: Tensor,
    y: Tensor,
    a: Tensor,
    b: Tensor,
    reg: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    metric: str,
    entropy: bool,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    return scaling.empty_outputs(
        x, points_batch_of(x, y, a, b, scalars=reg), x.shape[-2], y.shape[-2]
    )


def _points_setup_context(
    ctx: Any, inputs: tuple[Any, ...], output: scaling.ScalingOutputs
) -> None:
    x, y, a, b, _, _, _, ctx.metric, ctx.entropy, _, _, ctx.threads = inputs
    ctx.save_for_backward(x, y, a, b, output.f, output.g, output.eps)
    ctx.mark_non_differentiable(*output[4:], output.eps)
    ctx.set_materialize_grads(False)


def _points_backward(ctx: Any, grads: Any) -> tuple[Any, ...]:
    """Gradient of value in O(n + m) memory; that of f and g stores the costs."""
    x, y, a, b, f, g, eps = ctx.saved_tensors
    grad_f, grad_g, grad_value = grads.f, grads.g, grads.value
    need_x, need_y, need_a, need_b = ctx.needs_input_grad[:4]
    grad_x = grad_y = None
    grad_a, grad_b = _mass_gradients(ctx, grad_value, a, b, f, g, eps, need_a, need_b)
    if grad_value is not None:
        scale = grad_value.to(x.dtype)[:, None]
        if need_x:
            grad_x = point_gradient(x, y, f, g, a * scale, b, eps, ctx.metric, ctx.threads)
        if need_y:
            grad_y = point_gradient(y, x, g, f, b * scale, a, eps, ctx.metric, ctx.threads)
    if grad_f is not None or grad_g is not None:
        with torch.enable_grad():
            x_, y_ = (p if p.requires_grad else p.detach().requires_grad_() for p in (x, y))
            clouds = tuple(p.expand(f.shape[0], *p.shape[-2:]) for p in (x_, y_))
            cost = distances(clouds[0], clouds[1], ctx.metric)
        need = (need_x or need_y, need_a, need_b)
        of_cost, *of_masses = _implicit_gradients(
            ctx,
            cost if torch.is_grad_enabled() else cost.detach(),
            a,
            b,
            f,
            g,
            eps,
            grad_f,
            grad_g,
            need,
        )
        if of_cost is not None:
            of_points = torch.autograd.grad(
                cost, clouds, of_cost, create_graph=torch.is_grad_enabled()
            )
            grad_x = _plus(grad_x, of_points[0]) if need_x else None
            grad_y = _plus(grad_y, of_points[1]) if need_y else None
        grad_a, grad_b = map(_plus, (grad_a, grad_b), of_masses)
    return (
        None if grad_x is None else reduce_batch(grad_x, x),
        None if grad_y is None else reduce_batch(grad_y, y),
        None if grad_a is None else reduce_batch(grad_a.to(x.dtype), a),
        None if grad_b is None else reduce_batch(grad_b.to(x.dtype), b),
        *(None,) * 8,
    )


# (cost, a, b, reg () or (B,) float64, f_init, g_init, entropy, tol, max_iter, threads) -> scaling.ScalingOutputs, of which f, g
# and value are differentiable: saved as they are, they still belong to the graph when backward reads them, so the
# gradient of value can be differentiated again.
sinkhorn = define(
    "sinkhorn(Tensor cost, Tensor a, Tensor b, Tensor reg, Tensor? f_init, Tensor? g_init, "
    "bool entropy, float tol, int max_iter, int threads)",
    outputs=scaling.ScalingOutputs,
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 1, 1, 0, 1, 1, None, None, None, None),
    setup_context=_setup_context,
    backward=_backward,
)

# The same between points x (n, d), y (m, d), whose cost is not stored.
sinkhorn_points = define(
    "sinkhorn_points(Tensor x, Tensor y, Tensor a, Tensor b, Tensor reg, Tensor? f_init, "
    "Tensor? g_init, str metric, bool entropy, float tol, int max_iter, int threads)",
    outputs=scaling.ScalingOutputs,
    kernel=_points_kernel,
    fake=_points_fake,
    own_dims=(2, 2, 1, 1, 0, 1, 1, None, None, None, None, None),
    setup_context=_points_setup_context,
    backward=_points_backward,
)
