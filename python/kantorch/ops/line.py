"""Unregularised optimal transport on a line as an op: sorted points instead of a cost matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kantorch.errors import Status
from kantorch.ops._backend import Execution, core, on_cuda
from kantorch.ops._define import define
from kantorch.ops._gradients import mass_gradients
from kantorch.ops._layout import Problem, batch_of, contiguous, lead_of
from kantorch.ops._values import check_potentials, check_values, warn_unless_converged
from kantorch.ops.distance import require_finite
from kantorch.ops.exact import ExactOutputs, empty_outputs
from kantorch.ops.gibbs import reduce_batch


def _kernel(
    x: Tensor,
    y: Tensor,
    a: Tensor,
    b: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    squared: bool,
    threads: int,
) -> Any:
    if f_init is not None and g_init is not None:  # nothing to start, but they are checked
        check_potentials(f_init, g_init)
    x, y, a, b = (contiguous(vector) for vector in (x, y, a, b))
    lead = lead_of((x, 1), (y, 1), (a, 1), (b, 1))
    problem = Problem(a, b, lead[0] if lead else 1, x.shape[-1], y.shape[-1])
    execution = Execution.of(x, threads)
    out = empty_outputs(x.device, lead, problem.n, problem.m)
    if not problem.batch:
        return out
    if not on_cuda(x.device):  # whose kernel looks itself, and answers BAD_INPUT
        require_finite("x", x.unsqueeze(-1))
        require_finite("y", y.unsqueeze(-1))
        _check_costs(x, y, squared)
        check_values(problem, execution)
    worst = core.line(problem, x, y, squared, out, execution)
    if worst > Status.FIXED_ITERATIONS:
        warn_unless_converged("exact", out.status, out.marginal_error)
    return out


def _check_costs(x: Tensor, y: Tensor, squared: bool) -> None:
    """Raise a ValueError that names the first cost that is not finite in the points' dtype."""

    def costs(x: Tensor, y: Tensor) -> Tensor:
        distance = (x - y).abs()
        return distance.square() if squared else distance

    # Of all costs of a point the largest is that of an end of the other side.
    y_low, y_high = y.aminmax(dim=-1, keepdim=True)
    largest = torch.maximum(costs(x, y_low), costs(x, y_high))
    if bool(torch.isfinite(largest).all()):
        return
    *k, i = torch.nonzero(~torch.isfinite(largest))[0].tolist()
    row = costs(x[tuple(k) if x.ndim == 2 else ()][i], y[tuple(k) if y.ndim == 2 else ()])
    j = int(torch.nonzero(~torch.isfinite(row))[0])
    msg = f"cost must be finite: cost{[*k, i, j]} = {row[j].item()}"
    raise ValueError(msg)


def _fake(
    x: Tensor,
    y: Tensor,
    a: Tensor,
    b: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    squared: bool,
    threads: int,
) -> Any:
    batch = batch_of((x, 1), (y, 1), (a, 1), (b, 1))
    return empty_outputs(x.device, (batch,), x.shape[-1], y.shape[-1])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: ExactOutputs) -> None:
    x, y, a, b, _, _, ctx.squared, _ = inputs
    _, f, g, plan_row, plan_col, plan_mass, *rest = output
    ctx.mark_non_differentiable(f, g, plan_row, plan_col, plan_mass, *rest)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, y, a, b, f, g, plan_row, plan_col, plan_mass)


def _backward(ctx: Any, grads: Any) -> tuple[Any, ...]:
    x, y, a, b, f, g, plan_row, plan_col, plan_mass = ctx.saved_tensors
    grad_value = grads.value
    if grad_value is None:
        return (None,) * 8
    grad_x = grad_y = None
    if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
        batch = grad_value.shape[0]
        difference = x.double().expand(batch, -1).gather(1, plan_row)
        difference = difference - y.double().expand(batch, -1).gather(1, plan_col)
        slope = 2 * difference if ctx.squared else difference.sign()
        flow = grad_value[:, None] * plan_mass * slope
        grad_x = _sum_at(plan_row, flow, x)
        grad_y = _sum_at(plan_col, -flow, y)
    return (
        grad_x,
        grad_y,
        *mass_gradients(grad_value, f, g, a, b, ctx.needs_input_grad[2:4]),
        *(None,) * 4,
    )


def _sum_at(index: Tensor, values: Tensor, points: Tensor) -> Tensor:
    """For each point the sum of the cells' values; empty cells add 0 to point 0."""
    sums = values.new_zeros((values.shape[0], points.shape[-1])).scatter_add(1, index, values)
    return reduce_batch(sums.to(points.dtype), points)


# (x (n,) or (B, n), y, a, b, f_init, g_init, squared: |x - y|^2 and not |x - y|, threads) -> ExactOutputs of `exact`, of which value is
# differentiable.
line = define(
    "line(Tensor x, Tensor y, Tensor a, Tensor b, Tensor? f_init, Tensor? g_init, bool squared, "
    "int threads)",
    outputs=ExactOutputs,
    kernel=_kernel,
    fake=_fake,
    own_dims=(1, 1, 1, 1, 1, 1, None, None),
    setup_context=_setup_context,
    backward=_backward,
)
