"""The gradient of a plan's cost along its points, in O(n + m) memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kantorch.ops._backend import Execution, core
from kantorch.ops._define import define
from kantorch.ops._layout import Problem, batch_of, contiguous, scalars
from kantorch.ops.distance import solved_distances
from kantorch.ops.gibbs import gibbs


def _kernel(
    x: Tensor,
    y: Tensor,
    f: Tensor,
    g: Tensor,
    a: Tensor,
    b: Tensor,
    eps: Tensor,
    metric: str,
    threads: int,
) -> Tensor:
    problem = Problem.between(x, y, metric, a, b, eps)
    out = x.new_empty((problem.batch, *x.shape[-2:]))
    if problem.batch:
        f, g, eps = contiguous(f), contiguous(g), scalars(eps, problem.batch)
        core.point_gradient(problem, f, g, eps, out, Execution.of(x, threads))
    return out


def _fake(
    x: Tensor,
    y: Tensor,
    f: Tensor,
    g: Tensor,
    a: Tensor,
    b: Tensor,
    eps: Tensor,
    metric: str,
    threads: int,
) -> Tensor:
    batch = batch_of((f, 1), (x, 2), (y, 2), (a, 1), (b, 1), (eps, 0))
    return x.new_empty((batch, *x.shape[-2:]))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.metric, ctx.threads = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """A second derivative: it stores costs and plan."""
    if torch.is_grad_enabled():
        msg = "third derivatives of a solve between points are not available"
        raise NotImplementedError(msg)
    *tensors, eps = ctx.saved_tensors
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in tensors]
        x, y, f, g, a, b = leaves
        batch = grad.shape[0]
        x, y = x.expand(batch, *x.shape[-2:]), y.expand(batch, *y.shape[-2:])
        cost = solved_distances(x, y, ctx.metric)
        plan = gibbs(cost, f, g, a, b, eps, ctx.threads)
        (gradient,) = torch.autograd.grad(cost, x, plan, create_graph=True)
        gradients = torch.autograd.grad(gradient, leaves, grad, allow_unused=True)
    return *gradients, None, None, None


# (x, y, f (B, n), g (B, m) float64, a, b, eps (B,), metric, threads) -> (B, n, d): sum_j P_ij d c(x_i, y_j) / d x_i
# for P = a b exp((f + g - c) / eps). Linear in a, which may have any sign; called with both sides swapped it is the
# gradient in y.
point_gradient = define(
    "point_gradient(Tensor x, Tensor y, Tensor f, Tensor g, Tensor a, Tensor b, Tensor eps, str metric, "
    "int threads) -> Tensor",
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 2, 1, 1, 1, 1, 0, None, None),
    setup_context=_setup_context,
    backward=_backward,
)
