"""Cost matrices between points."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree

from kantorch import _check
from kantorch.ops._define import values_are_at_hand
from kantorch.ops._layout import METRICS
from kantorch.ops.distance import distances, require_finite

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

    >>> cost_matrix(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), metric="euclidean")
    tensor([[5.]])
    """
    points = Points.of(x, y, metric)
    if values_are_at_hand():
        require_finite("x", points.x)
        require_finite("y", points.y)
    return points.matrix()


@dataclasses.dataclass(frozen=True, slots=True)
class Points:
    """Two clouds of points, which stand for the costs between them."""

    x: Tensor
    """(n, d) or (B, n, d)"""
    y: Tensor
    """(m, d) or (B, m, d)"""
    metric: str

    @classmethod
    def of(cls, x: Tensor, y: Tensor, metric: str) -> Points:
        """Check two clouds and take them in the dtype that is computed in; see `cost_matrix`."""
        _check.require_choice("metric", metric, METRICS)
        for name, points in (("x", x), ("y", y)):
            _check.require_floating(name, points)
            if points.ndim not in (2, 3):
                msg = f"{name} must have shape (n, d) or (B, n, d), got {tuple(points.shape)}"
                raise ValueError(msg)
            if points.shape[-2] == 0 or points.shape[-1] == 0:
                msg = (
                    f"{name} must have points and coordinates, got the empty {tuple(points.shape)}"
                )
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
        return cls(_check.computed(x), _check.computed(y), metric)

    def matrix(self) -> Tensor:
        """The costs (n, m) or (B, n, m)."""
        return distances(self.x, self.y, self.metric)

    def detach(self) -> Points:
        """The points without their graph."""
        return Points(self.x.detach(), self.y.detach(), self.metric)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the costs."""
        lead = self.x.shape[:-2] or self.y.shape[:-2]
        return (*lead, self.x.shape[-2], self.y.shape[-2])

    @property
    def ndim(self) -> int:
        """That of the costs."""
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """That of the costs."""
        return self.x.dtype

    @property
    def device(self) -> torch.device:
        """Where the points are."""
        return self.x.device


def _flatten(points: Points) -> tuple[list[Tensor], str]:
    return [points.x, points.y], points.metric


def _unflatten(clouds: Iterable[Any], metric: Any) -> Points:
    x, y = clouds
    return Points(x, y, metric)


# A node, so that results that hold points can be returned by functions under vmap.
_pytree.register_pytree_node(Points, _flatten, _unflatten)
