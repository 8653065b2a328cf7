"""The inexact proximal point method as an op, differentiable by the envelope theorem."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kantorch.errors import Status
from kantorch.ops import cost as costs
from kantorch.ops import scaling
from kantorch.ops._backend import core
from kantorch.ops._define import define
from kantorch.ops._gradients import mass_gradients
from kantorch.ops._layout import scalars
from kantorch.ops.gibbs import gibbs, reduce_batch
from kantorch.ops.scaling_potentials import scaling_potentials


def _kernel(
    cost: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    metric: str,
    a: Tensor,
    b: Tensor,
    beta: Tensor | None,
    f_init: Tensor | None,
    g_init: Tensor | None,
    tol: float,
    max_iter: int,
    threads: int,
) -> Any:
    smaller = None if cost is None else _smaller(cost)
    if smaller is not None and cost is not None:
        cost = cost * smaller[..., None, None]
        beta = None if beta is None else beta * smaller
        f_init, g_init = (
            None if start is None else start * smaller[..., None] for start in (f_init, g_init)
        )
    given = costs.cost_of(cost, x, y, metric)
    given.check()
    problem = given.problem(a, b, beta)
    if beta is None:
        name, strength = (
            None,
            a.new_full((problem.batch,), -1.0, dtype=torch.float64),
        )  # the core's default
    else:
        name, strength = "beta", scalars(beta, problem.batch)
    out = scaling.run(core.ipot, problem, strength, name, f_init, g_init, tol, max_iter, threads)
    if smaller is not None:
        _enlarge(out, smaller)
    gap = (out.value_linear - out.bound).abs()
    scaling.finish("ipot", out, a.dtype, tol=tol, gap=gap)
    return out


# Differences of costs and potentials stay in the range of float64, whose last factors of 2 are too close.
_SMALLER = 2.0**-6


def _smaller(cost: Tensor) -> Tensor | None:
    """The factor of each problem's costs (..), 1 where they are not huge; None if none are."""
    if cost.dtype != torch.float64 or cost.numel() == 0:
        return None
    low, high = (float(x) for x in torch.aminmax(cost.detach()))
    largest = torch.finfo(cost.dtype).max
    if not largest * _SMALLER < max(-low, high) <= largest:
        return None
    huge = cost.detach().abs().amax((-2, -1)) > largest * _SMALLER
    return torch.where(huge, _SMALLER, 1.0).to(cost)


def _enlarge(out: scaling.ScalingOutputs, smaller: Tensor) -> None:
    """Take the outputs of smaller problems back to their size: potentials that overflow end the precision."""
    largest = torch.finfo(torch.float64).max
    for potential in (out.f, out.g):
        potential.div_(smaller[..., None])
    for field in (out.eps, out.value, out.value_linear, out.bound):
        field.div_(smaller)
    beyond = (out.f.abs().amax(-1) > largest) | (out.g.abs().amax(-1) > largest)
    out.status.masked_fill_(beyond, int(Status.PRECISION_LIMIT))
    for potential in (out.f, out.g):
        potential.clamp_(-largest, largest)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: scaling.ScalingOutputs) -> None:
    cost, x, y, ctx.metric, a, b, *_, ctx.threads = inputs
    ctx.mark_non_differentiable(*(o for o in output if o is not output.value))
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(cost, x, y, a, b, output.f, output.g, output.eps)


def _backward(ctx: Any, grads: Any) -> tuple[Any, ...]:
    """The optimal plan is piecewise constant in the problem, so it counts as a constant."""
    cost_, x, y, a, b, f, g, eps = ctx.saved_tensors
    operands = cost_, x, y
    scale = grads.value
    if scale is None:
        return (None,) * 12
    cost = costs.cost_of(*operands, ctx.metric)
    fixed = cost.detach()
    a_, b_ = a.detach(), b.detach()
    of_cost: costs.Gradients = (None,) * 4
    need_cost, need_masses = ctx.needs_input_grad[:3], any(ctx.needs_input_grad[4:6])
    if torch.is_grad_enabled() and any(need_cost):
        matrix, pull_back = cost.matrix_and_pullback(f.shape[0])
        x = a_ * scale.to(a.dtype)[:, None]
        of_cost = pull_back(gibbs(matrix.detach(), f, g, x, b_, eps, ctx.threads))
    else:
        of_cost = fixed.plan_gradients(scale, f, g, a_, b_, eps, need_cost, ctx.threads)
    of_masses: tuple[Tensor | None, Tensor | None] = (None, None)
    if need_masses:
        log_u, log_v = scaling_potentials(*fixed.operands, f, g, a_, b_, eps)
        of_masses = mass_gradients(scale, log_u, log_v, a, b)
    pairs = zip(of_cost, (*operands, None), strict=True)
    reduced = [None if grad is None else reduce_batch(grad, like) for grad, like in pairs]
    return *reduced, *of_masses, *(None,) * 6


# (cost or points, a, b, beta () or (B,) float64, f_init, g_init, tol, max_iter, threads) -> ScalingOutputs, of which value
# is differentiable. The plan is gibbs(cost, f, g, a, b, eps), so f = eps log (U / a), finite at zero mass.
ipot = define(
    f"ipot({costs.SCHEMA}, Tensor a, Tensor b, Tensor? beta, Tensor? f_init, Tensor? g_init, "
    "float tol, int max_iter, int threads)",
    outputs=scaling.ScalingOutputs,
    kernel=_kernel,
    fake=scaling.fake,
    own_dims=(*costs.OWN_DIMS, 1, 1, 0, 1, 1, None, None, None),
    setup_context=_setup_context,
    backward=_backward,
)
