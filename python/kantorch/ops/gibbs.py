"""Plans from potentials: plan_ij = x_i y_j exp((f_i + g_j - C_ij) / eps), in one pass over the cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kantorch.ops._backend import Execution, core
from kantorch.ops._define import define
from kantorch.ops._layout import Problem, batch_of, contiguous, scalars
from kantorch.ops._sums import column_totals, total


def _kernel(
    cost: Tensor, f: Tensor, g: Tensor, x: Tensor, y: Tensor, eps: Tensor, threads: int
) -> Tensor:
    problem = Problem.stored(cost, x, y, f[..., 0])
    plan = cost.new_empty(problem.shape)
    if problem.batch:
        f, g, eps = contiguous(f), contiguous(g), scalars(eps, problem.batch)
        core.gibbs(problem, f, g, eps, plan, Execution.of(cost, threads))
    return plan


def _fake(
    cost: Tensor, f: Tensor, g: Tensor, x: Tensor, y: Tensor, eps: Tensor, threads: int
) -> Tensor:
    batch = batch_of((f, 1), (cost, 2), (x, 1), (y, 1), (eps, 0))
    return cost.new_empty((batch, *cost.shape[-2:]))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.threads = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    cost, f, g, x, y, eps = ctx.saved_tensors
    need = ctx.needs_input_grad
    grad_cost = grad_f = grad_g = grad_x = grad_y = None
    if need[0] or need[1] or need[2]:
        # d plan_ij / d(f_i + g_j - C_ij) = plan_ij / eps
        slope = grad * gibbs(cost, f, g, x, y, eps, ctx.threads) / eps[:, None, None]
        grad_cost = reduce_batch(-slope, cost) if need[0] else None
        grad_f = reduce_batch(total(slope), f).to(f.dtype) if need[1] else None
        grad_g = reduce_batch(column_totals(slope), g).to(g.dtype) if need[2] else None
    if need[3]:  # linear in x; not plan / x, which is 0 / 0 at zero mass
        of_x = grad * gibbs(cost, f, g, torch.ones_like(x), y, eps, ctx.threads)
        grad_x = reduce_batch(total(of_x), x)
    if need[4]:
        of_y = grad * gibbs(cost, f, g, x, torch.ones_like(y), eps, ctx.threads)
        grad_y = reduce_batch(column_totals(of_y), y)
    return grad_cost, grad_f, grad_g, grad_x, grad_y, None, None


def reduce_batch(gradient: Tensor, like: Tensor) -> Tensor:
    """The gradient of a tensor that all problems of the batch share is the sum of theirs."""
    if gradient.ndim == like.ndim:
        return gradient
    if gradient.shape[0] == 1:
        return gradient.squeeze(0)
    return column_totals(gradient.flatten(1)).reshape(gradient.shape[1:])


# (cost, f (B, n) float64, g (B, m) float64, x, y in the cost's dtype, eps (B,) float64, threads) -> (B, n, m).
# Linear in x and y, which may have any sign: with x = a, y = b the plan; with one of them scaled, its gradients.
gibbs = define(
    "gibbs(Tensor cost, Tensor f, Tensor g, Tensor x, Tensor y, Tensor eps, int threads) -> Tensor",
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 1, 1, 1, 1, 0, None),
    setup_context=_setup_context,
    backward=_backward,
)
