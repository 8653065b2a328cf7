"""Entropic optimal transport as a differentiable op."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kantorch import _core
from kantorch.ops import scaling
from kantorch.ops.gibbs import gibbs, reduce_batch
from kantorch.ops.implicit import implicit
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
    reg: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    entropy: bool,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    problem = Problem.of(cost, a, b, reg)
    strength = per_problem(reg, problem.batch)
    check_values(problem, thread_count(threads), strength=strength, name="reg")
    out: scaling.Outputs = scaling.run(
        _core.sinkhorn,
        _core.sinkhorn_workspace,
        problem,
        strength,
        f_init,
        g_init,
        tol,
        max_iter,
        threads,
    )
    value, marginal_error, status = out[3], out[7], out[9]
    if entropy:
        value += strength * (_negative_entropy(a) + _negative_entropy(b))
    warn_unless_converged("sinkhorn", status, marginal_error)
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
    return scaling.outputs(cost, batch_of(cost, a, b, scalars=reg), *cost.shape[-2:])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: scaling.Outputs) -> None:
    cost, a, b, _, _, _, ctx.entropy, _, _, ctx.threads = inputs
    f, g, eps, _, *rest = output
    ctx.save_for_backward(cost, a, b, f, g, eps)
    ctx.mark_non_differentiable(eps, *rest)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    """Gradient of value by the envelope theorem, of f and g by the implicit function theorem."""
    cost, a, b, f, g, eps = ctx.saved_tensors
    grad_f, grad_g, _, grad_value = grads[:4]
    need_cost, need_a, need_b = ctx.needs_input_grad[:3]
    dtype = cost.dtype
    grad_cost = grad_a = grad_b = None
    if grad_value is not None:
        if need_cost:
            # Linear in x: the upstream gradient rides on a, without a buffer of its own.
            x = a * grad_value.to(dtype)[:, None]
            grad_cost = gibbs(cost, f, g, x, b, eps, ctx.threads)
        if need_a:
            grad_a = grad_value[:, None] * _mass_derivative(f, a, eps, ctx.entropy)
        if need_b:
            grad_b = grad_value[:, None] * _mass_derivative(g, b, eps, ctx.entropy)
    if grad_f is not None or grad_g is not None:
        grad_f = torch.zeros_like(f) if grad_f is None else grad_f
        grad_g = torch.zeros_like(g) if grad_g is None else grad_g
        grad_f, grad_g = _project(grad_f, grad_g, a, b)
        left, right = implicit(cost, f, g, a, b, eps, grad_f, grad_g, True, ctx.threads)
        left_, right_ = left.to(dtype), right.to(dtype)
        if need_cost:
            more = gibbs(cost, f, g, left_, b, eps, ctx.threads)
            more = more + gibbs(cost, f, g, a, right_, eps, ctx.threads)
            grad_cost = more if grad_cost is None else grad_cost + more
        if need_a:
            one = torch.ones_like(left_)
            of_a = -eps[:, None] * gibbs(cost, f, g, one, right_, eps, ctx.threads).sum(-1)
            grad_a = _centre(of_a) if grad_a is None else grad_a + _centre(of_a)
        if need_b:
            one = torch.ones_like(right_)
            of_b = -eps[:, None] * gibbs(cost, f, g, left_, one, eps, ctx.threads).sum(-2)
            grad_b = _centre(of_b) if grad_b is None else grad_b + _centre(of_b)
    return (
        None if grad_cost is None else reduce_batch(grad_cost, cost),
        None if grad_a is None else reduce_batch(grad_a.to(dtype), a),
        None if grad_b is None else reduce_batch(grad_b.to(dtype), b),
        *(None,) * 7,
    )


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


# (cost, a, b, reg () or (B,) float64, f_init, g_init, entropy, tol, max_iter, threads) -> scaling.Outputs, of which f, g
# and value are differentiable: saved as they are, they still belong to the graph when backward reads them, so the
# gradient of value can be differentiated again.
sinkhorn = define(
    "sinkhorn(Tensor cost, Tensor a, Tensor b, Tensor reg, Tensor? f_init, Tensor? g_init, "
    f"bool entropy, float tol, int max_iter, int threads) -> {scaling.OUTPUT_SCHEMA}",
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 1, 1, 0, 1, 1, None, None, None, None),
    setup_context=_setup_context,
    backward=_backward,
)
