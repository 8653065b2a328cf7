"""Squared Euclidean distances of many coordinates: by inner products, except where these would cancel."""

from __future__ import annotations

import torch
from torch import Tensor

from kantorch.ops._define import define

# |x - y|^2 = |x|^2 + |y|^2 - 2 <x, y> about the centre of y loses the digits by which it is smaller
# than |x|^2 + |y|^2. What is below this part of it comes from differences of coordinates.
_LOST = 0.25

# Above this part of a problem, all of it comes from differences, and there is nothing to gather.
_MANY = 1 / 16
_GATHERED = 2**18  # coordinates at a time


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    centre = y.mean(-2, keepdim=True)
    x_centred, y_centred = x - centre, y - centre
    x_squares = x_centred.square().sum(-1, keepdim=True)
    y_squares = y_centred.square().sum(-1, keepdim=True)
    ones = x.new_ones(())
    left = torch.cat([x_centred.mul_(-2), x_squares, ones.expand_as(x_squares)], -1)
    right = torch.cat([y_centred, ones.expand_as(y_squares), y_squares], -1)
    out = torch.bmm(left, right.mT)

    # Where squares are below `least` they lose digits themselves; where they overflow, nothing holds.
    finfo = torch.finfo(x.dtype)
    least = finfo.tiny / finfo.eps
    largest = x_squares.amax((-2, -1)) + y_squares.amax((-2, -1))
    if bool((out.amin((-2, -1)) > _LOST * largest + least).all()):
        return out
    squares = x_squares + y_squares.mT
    lost = torch.sub(out, squares, alpha=_LOST).gt_(least).logical_not_()
    most = _MANY * lost.shape[1] * lost.shape[2]
    for cost, points, others, where in zip(out, x, y, lost, strict=True):
        rows, cols = where.nonzero(as_tuple=True)
        if len(rows) > most:
            torch.square(by_differences(points, others), out=cost)
            continue
        step = max(1, _GATHERED // x.shape[-1])
        for i, j in zip(rows.split(step), cols.split(step), strict=True):
            cost[i, j] = (points[i] - others[j]).square_().sum(-1)
    return out


def by_differences(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances, not squared, without torch's inner products: those cancel."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def is_faster(x: Tensor, y: Tensor) -> bool:
    """Whether inner products are faster than differences, for problems of this size."""
    return x.shape[-1] >= 16 and x.shape[-2] * y.shape[-2] * x.shape[-1] >= 2**20


def _fake(x: Tensor, y: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], y.shape[1])


# (x (B, n, d), y (B, m, d)) -> (B, n, m)
square_distance = define(
    "square_distance(Tensor x, Tensor y) -> Tensor",
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 2),
)
