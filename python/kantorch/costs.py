"""Cost matrices between points."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from kantorch import _check

Metric = Literal["sqeuclidean", "euclidean", "cityblock", "chebyshev"]
METRICS: dict[str, float] = {
    "sqeuclidean": 2.0,
    "euclidean": 2.0,
    "cityblock": 1.0,
    "chebyshev": float("inf"),
}


def cost_matrix(x: Tensor, y: Tensor, *, metric: Metric = "sqeuclidean") -> Tensor:
    """The costs between all pairs of two sets of points, from coordinate differences.

    No inner products are taken, so nothing cancels for points that are close together or far from the
    origin. At zero distance the subgradient is 0.

    Args:
        x: (n, d) or (B, n, d), finite; float16 and bfloat16 are computed in float32.
        y: (m, d) or (B, m, d), in the dtype of x.
        metric: "sqeuclidean" (without a factor 1/2), "euclidean", "cityblock" or "chebyshev".

    Returns:
        (n, m) or (B, n, m), differentiable twice for the Euclidean metrics.

    Raises:
        TypeError: x or y is no floating point tensor, or they differ in dtype.
        ValueError: any other fault; names the argument, the first bad index, its value and the rule.

    >>> cost_matrix(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), metric="euclidean")
    tensor([[5.]])
    """
    return _pairwise(*checked_points(x, y, metric), metric)


def checked_points(x: Tensor, y: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    """The arguments of `cost_matrix`, checked, in the dtype that is computed in."""
    _check.require_choice("metric", metric, tuple(METRICS))
    for name, points in (("x", x), ("y", y)):
        _check.require_floating(name, points)
        if points.ndim not in (2, 3):
            msg = f"{name} must have shape (n, d) or (B, n, d), got {tuple(points.shape)}"
            raise ValueError(msg)
        if points.shape[-2] == 0 or points.shape[-1] == 0:
            msg = f"{name} must have points and coordinates, got the empty {tuple(points.shape)}"
            raise ValueError(msg)
    if x.dtype != y.dtype:
        msg = f"y must have the dtype of x, {x.dtype}, got {y.dtype}"
        raise TypeError(msg)
    if x.device != y.device:
        msg = f"y must be on the device of x, {x.device}, got {y.device}"
        raise ValueError(msg)
    if x.shape[-1] != y.shape[-1]:
        msg = (
            f"y must have as many coordinates as x, {x.shape[-1]}, got shapes "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
        raise ValueError(msg)
    _check.require_one_batch(x=(x, 2), y=(y, 2))
    x, y = _check.computed(x), _check.computed(y)
    if not torch.compiler.is_compiling() and not torch._C._are_functorch_transforms_active():
        _require_finite("x", x)
        _require_finite("y", y)
    return x, y


def _pairwise(x: Tensor, y: Tensor, metric: Metric) -> Tensor:
    if METRICS[metric] != 2.0:
        return torch.cdist(x, y, p=METRICS[metric])
    if x.ndim != y.ndim:
        batch = x.shape[0] if x.ndim == 3 else y.shape[0]
        x, y = (p if p.ndim == 3 else p.expand(batch, *p.shape) for p in (x, y))
    function: Any = _SquaredDistance if metric == "sqeuclidean" else _Distance
    cost: Tensor = function.apply(x, y)
    return cost


def _require_finite(name: str, points: Tensor) -> None:
    if bool(torch.isfinite(points).all()):
        return
    where = torch.nonzero(~torch.isfinite(points))[0].tolist()
    msg = f"{name} must be finite: {name}{where} = {points[tuple(where)].item()}"
    raise ValueError(msg)


def _cdist(x: Tensor, y: Tensor) -> Tensor:
    # Without inner products: those cancel.
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


class _Distance(torch.autograd.Function):
    """Euclidean distances with subgradient 0 at distance 0, differentiable twice."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        return _cdist(x, y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y, distance = ctx.saved_tensors
        grad_x = _pull(x, y, distance, grad) if ctx.needs_input_grad[0] else None
        transposed = distance.mT, grad.mT
        grad_y = _pull(y, x, *transposed) if ctx.needs_input_grad[1] else None
        return grad_x, grad_y


def _pull(x: Tensor, y: Tensor, distance: Tensor, grad: Tensor) -> Tensor:
    """sum_j grad_ij (x_i - y_j) / distance_ij, from differences."""
    if not torch.is_grad_enabled():  # no second derivative is asked for
        pulled: Tensor = torch.ops.aten._cdist_backward(
            grad.contiguous(), x.contiguous(), y.contiguous(), 2.0, distance.contiguous()
        )
        return pulled
    weight = grad / torch.where(distance > 0, distance, torch.inf)
    columns = [
        (weight * (x[..., k, None] - y[..., None, :, k])).sum(-1) for k in range(x.shape[-1])
    ]
    return torch.stack(columns, -1)


class _SquaredDistance(torch.autograd.Function):
    """Squared Euclidean distances; the gradient is linear in the points, so it may use matmul."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        return _cdist(x, y).square()  # in place, compiled gradients were 0 in torch 2.11

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors
        # The origin is moved between the points, where x_i - y_j cancels least.
        origin = y.detach().mean(-2, keepdim=True)
        x, y = x - origin, y - origin
        with torch.autocast(grad.device.type, enabled=False):
            grad_x = grad_y = None
            if ctx.needs_input_grad[0]:
                grad_x = 2 * (x * grad.sum(-1)[..., None] - grad @ y)
            if ctx.needs_input_grad[1]:
                grad_y = 2 * (y * grad.sum(-2)[..., None] - grad.mT @ x)
        return grad_x, grad_y
