"""Distances between points as torch computes them: the cost matrix, where one is wanted."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def distances(x: Tensor, y: Tensor, metric: str) -> Tensor:
    """The costs (n, m) or (B, n, m) between points (n, d) and (m, d), either of them batched."""
    if metric in ("cityblock", "chebyshev"):
        return torch.cdist(x, y, p=1.0 if metric == "cityblock" else float("inf"))
    batched = x.ndim == 3 or y.ndim == 3
    # A single problem is a batch of one: torch multiplies single matrices by another routine, and the
    # gradient of a problem may not depend on the batch it is in.
    batch = x.shape[0] if x.ndim == 3 else y.shape[0] if batched else 1
    x, y = (p if p.ndim == 3 else p.expand(batch, *p.shape) for p in (x, y))
    function: Any = _SquaredDistance if metric == "sqeuclidean" else _Distance
    cost: Tensor = function.apply(x, y)
    return cost if batched else cost[0]


def require_finite(name: str, points: Tensor) -> None:
    """Raise a ValueError that names the first coordinate that is not finite."""
    if bool(torch.isfinite(points).all()):
        return
    where = torch.nonzero(~torch.isfinite(points))[0].tolist()
    msg = f"{name} must be finite: {name}{where} = {points[tuple(where)].item()}"
    raise ValueError(msg)


def check_points(x: Tensor, y: Tensor, metric: str) -> None:
    """Raise a ValueError that names the first coordinate that is not finite, or the first distance.

    Distances are looked at only if they may overflow.
    """
    require_finite("x", x)
    require_finite("y", y)
    if x.numel() == 0 or y.numel() == 0:
        return
    furthest = 2 * max(x.abs().max().item(), y.abs().max().item())
    power = 1 if metric in ("cityblock", "chebyshev") else 2
    # Half of the range is room for the rounding of the sum.
    if furthest <= (torch.finfo(x.dtype).max / 2 / x.shape[-1]) ** (1 / power):
        return
    for i in range(x.shape[-2]):
        row = distances(x[..., i : i + 1, :], y, metric)
        if not bool(torch.isfinite(row).all()):
            where = torch.nonzero(~torch.isfinite(row))[0].tolist()
            value = row[tuple(where)].item()
            where[-2] = i
            msg = f"cost must be finite: cost{where} = {value}"
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
