"""Entropic optimal transport as a differentiable op."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kantorch.ops import cost as costs
from kantorch.ops import scaling
from kantorch.ops._backend import core
from kantorch.ops._define import define
from kantorch.ops._layout import scalars
from kantorch.ops._sums import column_totals, less_mean, total
from kantorch.ops.gibbs import gibbs, reduce_batch
from kantorch.ops.implicit import implicit, kernel_of_mass


def _kernel(
    cost: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    metric: str,
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
    given = costs.cost_of(cost, x, y, metric)
    given.check()
    problem = given.problem(a, b, reg)
    eps = scalars(reg, problem.batch)
    out = scaling.run(core.sinkhorn, problem, eps, "reg", f_init, g_init, tol, max_iter, threads)
    if entropy:
        out.value.add_(eps * (_negative_entropy(problem.a) + _negative_entropy(problem.b)))
    scaling.finish("sinkhorn", out, a.dtype)
    return out


def _negative_entropy(weights: Tensor) -> Tensor:
    weights = weights.double()
    entropy: Tensor = total(torch.special.xlogy(weights, weights))
    return entropy


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: scaling.ScalingOutputs) -> None:
    cost, x, y, ctx.metric, a, b, _, _, _, ctx.entropy, _, _, ctx.threads = inputs
    ctx.save_for_backward(cost, x, y, a, b, output.f, output.g, output.eps)
    ctx.mark_non_differentiable(*output[4:], output.eps)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grads: Any) -> tuple[Any, ...]:
    """Gradient of value by the envelope theorem, of f and g by the implicit function theorem."""
    cost_, x, y, a, b, f, g, eps = ctx.saved_tensors
    operands = cost_, x, y
    cost = costs.cost_of(*operands, ctx.metric)
    of_cost: costs.Gradients = (None,) * 4
    grad_a = grad_b = None
    need_cost, (need_a, need_b) = ctx.needs_input_grad[:3], ctx.needs_input_grad[4:6]
    if (scale := grads.value) is not None:
        of_cost = cost.plan_gradients(scale, f, g, a, b, eps, need_cost, ctx.threads)
        if need_a:
            grad_a = scale[:, None] * _mass_derivative(f, a, eps, ctx.entropy)
        if need_b:
            grad_b = scale[:, None] * _mass_derivative(g, b, eps, ctx.entropy)
    if grads.f is not None or grads.g is not None:
        matrix, pull_back = cost.matrix_and_pullback(f.shape[0])
        more = _implicit_gradients(
            matrix, a, b, f, g, eps, grads.f, grads.g, (any(need_cost), need_a, need_b), ctx.threads
        )
        if more[0] is not None:
            of_cost = _sums(of_cost, pull_back(more[0]))
        grad_a, grad_b = _sums((grad_a, grad_b), more[1:])
    inputs = zip((*of_cost, grad_a, grad_b), (*operands, None, a, b), strict=True)
    return *(
        None if grad is None else reduce_batch(grad.to(a.dtype), like) for grad, like in inputs
    ), *(None,) * 7


def _sums(left: tuple[Any, ...], right: tuple[Any, ...]) -> Any:
    """Gradients added one by one, where None is none."""
    pairs = zip(left, right, strict=True)
    return tuple([y if x is None else x if y is None else x + y for x, y in pairs])


def _implicit_gradients(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    f: Tensor,
    g: Tensor,
    eps: Tensor,
    grad_f: Tensor | None,
    grad_g: Tensor | None,
    need: tuple[bool, bool, bool],
    threads: int,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Those of the potentials, in cost, a and b."""
    grad_f = torch.zeros_like(f) if grad_f is None else grad_f
    grad_g = torch.zeros_like(g) if grad_g is None else grad_g
    grad_f, grad_g = _project(grad_f, grad_g, a, b)
    left, right = implicit(cost, f, g, a, b, eps, grad_f, grad_g, True, threads)
    left_, right_ = left.to(cost.dtype), right.to(cost.dtype)
    of_cost = of_a = of_b = None
    if need[0]:
        of_cost = gibbs(cost, f, g, left_, b, eps, threads)
        of_cost = of_cost + gibbs(cost, f, g, a, right_, eps, threads)
    if need[1]:
        kernel = kernel_of_mass(cost, f, g, torch.ones_like(left_), right_, a, b, eps, threads)
        of_a = less_mean(-eps[:, None] * total(kernel))
    if need[2]:
        kernel = kernel_of_mass(cost, f, g, left_, torch.ones_like(right_), a, b, eps, threads)
        of_b = less_mean(-eps[:, None] * column_totals(kernel))
    return of_cost, of_a, of_b


def _project(grad_f: Tensor, grad_g: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Pull gradients back through the choice of constant: sum f = sum g over the points with mass."""
    held_f, held_g = (a > 0).expand_as(grad_f), (b > 0).expand_as(grad_g)
    points = (held_f.sum(-1) + held_g.sum(-1)).clamp(min=1)
    excess = ((total(grad_f) - total(grad_g)) / points)[:, None]
    return grad_f - excess * held_f, grad_g + excess * held_g


def _mass_derivative(potential: Tensor, weights: Tensor, eps: Tensor, entropy: bool) -> Tensor:
    """D value / d weights along directions that keep the mass."""
    if not entropy:
        return less_mean(potential)
    # At zero mass the derivative is -inf: such a point gets 0 and stays out of the mean.
    held = (weights > 0).expand_as(potential)
    logarithm = torch.where(held, weights, 1).double().log()
    derivative = torch.where(held, potential + eps[:, None] * logarithm, 0)
    mean = total(derivative)[..., None] / held.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(held, derivative - mean, 0)


# (cost or points, a, b, reg () or (B,) float64, f_init, g_init, entropy, tol, max_iter, threads) -> ScalingOutputs, of
# which f, g and value are differentiable: saved as they are, they still belong to the graph when backward reads them,
# so the gradient of value can be differentiated again.
sinkhorn = define(
    f"sinkhorn({costs.SCHEMA}, Tensor a, Tensor b, Tensor reg, Tensor? f_init, Tensor? g_init, "
    "bool entropy, float tol, int max_iter, int threads)",
    outputs=scaling.ScalingOutputs,
    kernel=_kernel,
    fake=scaling.fake,
    own_dims=(*costs.OWN_DIMS, 1, 1, 0, 1, 1, None, None, None, None),
    setup_context=_setup_context,
    backward=_backward,
)
