"""Euclidean distances of many coordinates, or their squares: by inner products, except where these would cancel."""

from __future__ import annotations

import torch
from torch import Tensor

from kantorch.ops._define import define
from kantorch.ops.distance_matrix import distance_matrix

# |x - y|^2 = |x|^2 + |y|^2 - 2 <x, y> about the centre of y loses the digits by which it is smaller
# than |x|^2 + |y|^2. What is below this part of it comes from differences of coordinates.
_LOST = 0.25

# Above this part of a problem, all of it comes from differences, and there is nothing to gather.
_MANY = 1 / 16
_GATHERED = 2**18  # coordinates at a time


def _kernel(x: Tensor, y: Tensor, root: bool) -> Tensor:
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
        return out.sqrt_() if root else out
    squares = x_squares + y_squares.mT
    lost = torch.sub(out, squares, alpha=_LOST).gt_(least).logical_not_()
    most = _MANY * lost.shape[1] * lost.shape[2]
    metric = "euclidean" if root else "sqeuclidean"
    if root:
        out.sqrt_()
    for cost, points, others, where in zip(out, x, y, lost, strict=True):
        rows, cols = where.nonzero(as_tuple=True)
        if len(rows) > most:
            cost.copy_(distance_matrix(points, others, metric)[0])
            continue
        step = max(1, _GATHERED // x.shape[-1])
        for i, j in zip(rows.split(step), cols.split(step), strict=True):
            cost[i, j] = _norm(points[i] - others[j], root)
    return out


def _norm(differences: Tensor, root: bool) -> Tensor:
    """Of (.., d), or its square; a norm neither overflows nor vanishes before its time."""
    if not root:
        return differences.square_().sum(-1)
    unit = differences.abs().amax(-1)
    squares = (differences / unit.where(unit > 0, 1)[..., None]).square_().sum(-1)
    return unit * squares.sqrt_()


def is_faster(x: Tensor, y: Tensor) -> bool:
    """Whether inner products are faster than differences, for problems of this size."""
    return x.shape[-1] >= 16 and x.shape[-2] * y.shape[-2] * x.shape[-1] >= 2**20


def _fake(x: Tensor, y: Tensor, root: bool) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], y.shape[1])


# (x (B, n, d), y (B, m, d), root) -> (B, n, m)
square_distance = define(
    "square_distance(Tensor x, Tensor y, bool root) -> Tensor",
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 2, None),
)
