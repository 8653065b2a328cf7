"""The inexact proximal point method as an op, differentiable by the envelope theorem."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kantorch.errors import Status
from kantorch.ops import cost as costs
from kantorch.ops import scaling
from kantorch.ops._backend import core, on_cuda
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
    unit = None if cost is None else _unit(cost)
    if unit is not None:
        cost, beta, f_init, g_init = (
            _smaller(tensor, own, unit)
            for tensor, own in ((cost, 2), (beta, 0), (f_init, 1), (g_init, 1))
        )
    given = costs.cost_of(cost, x, y, metric)
    given.check()
    problem = given.problem(a, b, beta)
    step = None if beta is None else scalars(beta, problem.batch)
    out = scaling.run(core.ipot, problem, step, "beta", f_init, g_init, tol, max_iter, threads)
    if unit is not None:
        _enlarge(out, unit)
    gap = (out.value_linear - out.bound).abs()
    scaling.finish("ipot", out, a.dtype, tol=tol, gap=gap)
    return out


# Differences of costs and potentials stay in the range of float64, whose last factors of 2 are too close.
_SMALLER = 2.0**-6


def _unit(cost: Tensor) -> Tensor | None:
    """What to multiply each problem's costs (..) by, 1 or `_SMALLER`; None if it is 1 for all of them.

    On CUDA, where values may not be looked at, it is never None in float64.
    """
    if cost.dtype != torch.float64 or cost.numel() == 0:
        return None
    largest = torch.finfo(cost.dtype).max
    low, high = (bound.detach() for bound in (cost.amin((-2, -1)), cost.amax((-2, -1))))
    size = torch.maximum(-low, high)
    huge = (size > largest * _SMALLER) & (size <= largest)
    if not on_cuda(cost.device) and not bool(huge.any()):
        return None
    return torch.where(huge, torch.full_like(size, _SMALLER), 1)


def _smaller(tensor: Tensor | None, own: int, unit: Tensor) -> Tensor | None:
    """A tensor of `own` dimensions a problem, in units of the smaller costs."""
    return None if tensor is None else tensor * unit.reshape(unit.shape + (1,) * own)


def _enlarge(out: scaling.ScalingOutputs, unit: Tensor) -> None:
    """Take the outputs of a smaller problem back to its size: potentials that overflow end the precision."""
    largest = torch.finfo(torch.float64).max
    for field in (out.eps, out.value, out.value_linear, out.bound):
        field.div_(unit)
    for potential in (out.f, out.g):
        potential.div_(unit[..., None])
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
    need_cost, need_masses = ctx.needs_input_grad[:3], ctx.needs_input_grad[4:6]
    if torch.is_grad_enabled() and any(need_cost):
        matrix, pull_back = cost.matrix_and_pullback(f.shape[0])
        x = a_ * scale.to(a.dtype)[:, None]
        of_cost = pull_back(gibbs(matrix.detach(), f, g, x, b_, eps, ctx.threads))
    else:
        of_cost = fixed.plan_gradients(scale, f, g, a_, b_, eps, need_cost, ctx.threads)
    of_masses: tuple[Tensor | None, Tensor | None] = (None, None)
    if any(need_masses):
        log_u, log_v = scaling_potentials(*fixed.operands, f, g, a_, b_, eps)
        of_masses = mass_gradients(scale, log_u, log_v, a, b, need_masses)
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
