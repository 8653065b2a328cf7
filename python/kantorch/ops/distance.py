"""Distances between points, differentiable: the cost matrix, where one is wanted."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from kantorch.ops._backend import on_cuda
from kantorch.ops._define import refuse_compiled_derivatives, refuse_forward_mode
from kantorch.ops.distance_matrix import distance_matrix
from kantorch.ops.square_distance import is_faster, square_distance

# Fewer coordinates than this torch goes through in less time than a call of the core takes.
_FEW = 2**15


def distances(x: Tensor, y: Tensor, metric: str) -> Tensor:
    """The costs (n, m) or (B, n, m) between points (n, d) and (m, d), either of them batched."""
    if torch.compiler.is_compiling():
        refuse_compiled_derivatives()
    elif forward_ad._current_level >= 0:  # no public way to ask
        identity: Any = _WithoutForwardMode
        x, y = identity.apply(x), identity.apply(y)
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


def solved_distances(x: Tensor, y: Tensor, metric: str) -> Tensor:
    """The costs (n, m) or (B, n, m) that belong to the potentials of a solve, differentiable.

    `distances` may differ in their last digits, which are large beside reg where reg is small or the
    clouds are far from each other.
    """
    with torch.no_grad():
        solved: Tensor = distance_matrix(x.detach(), y.detach(), metric)
    if x.ndim == 2 and y.ndim == 2:
        solved = solved[0]
    if not torch.is_grad_enabled() and torch._C._get_tracing_state() is None:
        return solved  # a trace is made with and checked without gradients, and must be the same
    # Numbers this near to each other have an exact difference (Sterbenz), so the sum is `solved`.
    differentiable = distances(x, y, metric)
    return differentiable + (solved - differentiable.detach())


def require_finite(name: str, points: Tensor) -> float:
    """The largest size of a coordinate; a ValueError names the first one that is not finite."""
    if points.numel() == 0:
        return 0.0
    largest = max(abs(extreme.item()) for extreme in torch.aminmax(points))
    if math.isfinite(largest):
        return largest
    where = torch.nonzero(~torch.isfinite(points))[0].tolist()
    msg = f"{name} must be finite: {name}{where} = {points[tuple(where)].item()}"
    raise ValueError(msg)


def check_points(x: Tensor, y: Tensor, metric: str) -> None:
    """Raise a ValueError that names the first coordinate that is not finite, or the first distance.

    Distances are looked at only if they may overflow.
    """
    if on_cuda(x.device):  # whose solvers look themselves, and answer BAD_INPUT
        return
    furthest = 2 * max(require_finite("x", x), require_finite("y", y))
    if x.numel() == 0 or y.numel() == 0:
        return
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


def _euclidean(x: Tensor, y: Tensor, root: bool) -> Tensor:
    """Euclidean distances or, without the root, their squares: whichever way is the fastest."""
    if is_faster(x, y):
        distance: Tensor = square_distance(x, y, root)
    elif not root and x.shape[-2] * y.shape[-2] * x.shape[-1] < _FEW:
        # Squared in place, compiled gradients were 0 in torch 2.11.
        distance = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    else:
        distance = distance_matrix(x, y, "euclidean" if root else "sqeuclidean")
    return distance


class _WithoutForwardMode(torch.autograd.Function):
    """The identity. The compiler takes no function with a jvp, so the distances have none."""

    generate_vmap_rule = True

    @staticmethod
    def forward(points: Tensor) -> Tensor:
        return points.view_as(points)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        refuse_forward_mode(ctx, *tangents)


class _Distance(torch.autograd.Function):
    """Euclidean distances with subgradient 0 at distance 0, differentiable twice."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        return _euclidean(x, y, True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y, distance = ctx.saved_tensors
        grad_x = _point_gradient(x, y, distance, grad) if ctx.needs_input_grad[0] else None
        transposed = distance.mT, grad.mT
        grad_y = _point_gradient(y, x, *transposed) if ctx.needs_input_grad[1] else None
        return grad_x, grad_y


def _point_gradient(x: Tensor, y: Tensor, distance: Tensor, grad: Tensor) -> Tensor:
    """sum_j grad_ij (x_i - y_j) / distance_ij, from differences."""
    if not torch.is_grad_enabled():  # no second derivative is asked for
        gradient: Tensor = torch.ops.aten._cdist_backward(
            grad.contiguous(), x.contiguous(), y.contiguous(), 2.0, distance.contiguous()
        )
        return gradient
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
        return _euclidean(x, y, False)

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
