"""Cost matrices between points."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from kantorch import _check
from kantorch.ops._define import values_are_at_hand
from kantorch.ops._layout import METRICS
from kantorch.ops.cost import Points
from kantorch.ops.distance import require_finite

Metric = Literal["sqeuclidean", "euclidean", "cityblock", "chebyshev"]


def cost_matrix(x: Tensor, y: Tensor, *, metric: Metric = "sqeuclidean") -> Tensor:
    """The costs between all pairs of two sets of points.

    They come from differences of coordinates, or from inner products about the centre where these lose
    no digits, so nothing cancels for points that are close together or far from the origin. At zero
    distance the subgradient is 0.

    Args:
        x: (n, d) or (B, n, d), finite; float16 and bfloat16 are computed in float32.
        y: (m, d) or (B, m, d), in the dtype of x.
        metric: "sqeuclidean" (without a factor 1/2), "euclidean", "cityblock" or "chebyshev".

    Returns:
        (n, m) or (B, n, m), differentiable twice for the Euclidean metrics.

    Raises:
        TypeError: x or y is no floating point tensor, or they differ in dtype.
        ValueError: any other fault; names the argument, the first bad index, its value and the rule.

    >>> import torch
    >>> cost_matrix(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), metric="euclidean")
    tensor([[5.]])
    """
    points = points_of(x, y, metric)
    if values_are_at_hand(points.x, points.y):
        require_finite("x", points.x)
        require_finite("y", points.y)
    return points.matrix()


def points_of(x: Tensor, y: Tensor, metric: str) -> Points:
    """Check two clouds and take them in the dtype that is computed in; see `cost_matrix`."""
    _check.require_choice("metric", metric, METRICS)
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
    return Points(_check.computed(x), _check.computed(y), metric)
