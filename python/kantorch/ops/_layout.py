"""A problem as the core takes it: tensors of one batch, laid out as the kernels read memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

METRICS = ("sqeuclidean", "euclidean", "cityblock", "chebyshev")  # as the core numbers them


def batch_of(*tensors: tuple[Tensor | None, int]) -> int:
    """The batch size: that of the first tensor with a batch dimension, else 1.

    Args:
        *tensors: each with its number of dimensions in a single problem.
    """
    lead = lead_of(*tensors)
    return lead[0] if lead else 1


def lead_of(*tensors: tuple[Tensor | None, int]) -> tuple[int, ...]:
    """The batch dimension, or none where no tensor has one; see `batch_of`."""
    for tensor, own in tensors:
        if tensor is not None and tensor.ndim > own:
            return (tensor.shape[0],)
    return ()


def contiguous(vector: Tensor) -> Tensor:
    """The vectors with contiguous elements, copied only if they are not."""
    return vector if vector.stride(-1) == 1 or vector.shape[-1] == 1 else vector.contiguous()


def scalars(values: Tensor, batch: int) -> Tensor:
    """One float64 a problem, contiguous."""
    return values.to(torch.float64).expand(batch).contiguous()


def start(f_init: Tensor | None, g_init: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """A warm start as the core takes it: float64 and contiguous, both or neither."""
    if f_init is None or g_init is None:
        return None, None
    return f_init.double().contiguous(), g_init.double().contiguous()


class Panels(NamedTuple):
    """Two clouds of points in place of a cost."""

    x: Tensor
    """(n, d) or (B, n, d), contiguous"""
    y_panels: Tensor
    """(ceil(m / 16), d, 16) or (B, ..): 16 points side by side, coordinate by coordinate"""
    metric: int

    @classmethod
    def of(cls, x: Tensor, y: Tensor, metric: str) -> Panels:
        """Lay points (n, d) and (m, d) out; the last panel is filled up with zeros."""
        *lead, m, d = y.shape
        filled = torch.nn.functional.pad(y, (0, 0, 0, -m % 16))  # 16 is `panel` in core/view.hpp
        panels = filled.reshape(*lead, (m + 15) // 16, 16, d).mT.contiguous()
        return cls(x.contiguous(), panels, METRICS.index(metric))


class Problem(NamedTuple):
    """The tensors of a problem, which csrc/bindings/problem.hpp reads by name.

    There is either a cost or there are points, but on a line, where the op holds them.
    """

    a: Tensor
    b: Tensor
    batch: int
    n: int
    m: int
    cost: Tensor | None = None
    points: Panels | None = None

    @classmethod
    def stored(cls, cost: Tensor, a: Tensor, b: Tensor, scalars: Tensor | None = None) -> Problem:
        """A problem whose cost is in memory, copied only if its rows are not contiguous."""
        batch = batch_of((cost, 2), (a, 1), (b, 1), (scalars, 0))
        n, m = cost.shape[-2:]
        if cost.stride(-1) != 1 and m != 1:
            cost = cost.contiguous()
        return cls(contiguous(a), contiguous(b), batch, n, m, cost=cost)

    @classmethod
    def between(
        cls, x: Tensor, y: Tensor, metric: str, a: Tensor, b: Tensor, scalars: Tensor | None = None
    ) -> Problem:
        """A problem between points, whose costs are made where they are needed."""
        batch = batch_of((x, 2), (y, 2), (a, 1), (b, 1), (scalars, 0))
        n, m = x.shape[-2], y.shape[-2]
        panels = Panels.of(x, y, metric)
        return cls(contiguous(a), contiguous(b), batch, n, m, points=panels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, n, m."""
        return self.batch, self.n, self.m
