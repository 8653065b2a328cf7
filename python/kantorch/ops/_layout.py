"""A problem as the kernels take it: addresses, sizes, strides, dtype."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import Tensor

NOT_GIVEN = (0, 0)
NO_POINTS = (0, 0, 0, 0, 0, 0)
METRICS = ("sqeuclidean", "euclidean", "cityblock", "chebyshev")  # as the core numbers them


def batch_of(cost: Tensor, *vectors: Tensor | None, scalars: Tensor | None = None) -> int:
    """The batch size: that of the first input with a batch dimension, else 1."""
    if cost.ndim == 3:
        return cost.shape[0]
    for vector in vectors:
        if vector is not None and vector.ndim == 2:
            return vector.shape[0]
    return scalars.shape[0] if scalars is not None and scalars.ndim == 1 else 1


def points_batch_of(
    x: Tensor, y: Tensor, *vectors: Tensor | None, scalars: Tensor | None = None
) -> int:
    """The batch size of a problem between points (n, d) or (B, n, d)."""
    return batch_of(x if x.ndim == 3 else y, *vectors, scalars=scalars)


def dtype_of(tensor: Tensor) -> Literal["float32", "float64"]:
    """The name by which the core knows a dtype."""
    return "float64" if tensor.dtype == torch.float64 else "float32"


def rows_contiguous(cost: Tensor) -> Tensor:
    """The cost with contiguous rows, copied only if they are not."""
    return cost if cost.stride(-1) == 1 or cost.shape[-1] == 1 else cost.contiguous()


def cost_argument(cost: Tensor, batch: int) -> tuple[int, int, int, int, int, int]:
    """Address, B, n, m and strides of a cost with contiguous rows."""
    n, m = cost.shape[-2:]
    batch_stride = cost.stride(0) if cost.ndim == 3 else 0
    return cost.data_ptr(), batch, n, m, batch_stride, cost.stride(-2)


def vector_argument(vector: Tensor) -> tuple[int, int]:
    """Address and batch stride of contiguous vectors."""
    return vector.data_ptr(), vector.stride(0) if vector.ndim == 2 else 0


def contiguous(vector: Tensor) -> Tensor:
    """The vectors with contiguous elements, copied only if they are not."""
    return vector if vector.stride(-1) == 1 or vector.shape[-1] == 1 else vector.contiguous()


def panels(points: Tensor) -> Tensor:
    """Points (.., m, d) side by side, coordinate by coordinate: (.., ceil(m / 16), d, 16).

    The last panel is filled up with zeros. 16 is `panel` in core/view.hpp.
    """
    *lead, m, d = points.shape
    filled = torch.nn.functional.pad(points, (0, 0, 0, -m % 16))
    return filled.reshape(*lead, (m + 15) // 16, 16, d).mT.contiguous()


def scalars(values: Tensor, batch: int) -> Tensor:
    """One float64 a problem, contiguous."""
    return values.to(torch.float64).expand(batch).contiguous()


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """The tensors of a problem, kept alive beside the arguments made from them.

    There is either a cost, or there are points x (n, d) and y (m, d) in panels.
    """

    a: Tensor
    b: Tensor
    batch: int
    n: int
    m: int
    cost: Tensor | None = None
    clouds: tuple[Tensor, Tensor] | None = None
    metric: str = METRICS[0]

    @classmethod
    def of(cls, cost: Tensor, a: Tensor, b: Tensor, scalars: Tensor | None = None) -> Problem:
        """Lay a problem out for the core."""
        batch = batch_of(cost, a, b, scalars=scalars)
        n, m = cost.shape[-2:]
        return cls(contiguous(a), contiguous(b), batch, n, m, cost=rows_contiguous(cost))

    @classmethod
    def of_points(
        cls, x: Tensor, y: Tensor, a: Tensor, b: Tensor, metric: str, scalars: Tensor | None = None
    ) -> Problem:
        """The same of a problem between points."""
        batch = points_batch_of(x, y, a, b, scalars=scalars)
        clouds = x.contiguous(), panels(y)
        n, m = x.shape[-2], y.shape[-2]
        return cls(contiguous(a), contiguous(b), batch, n, m, clouds=clouds, metric=metric)

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, n, m."""
        return self.batch, self.n, self.m

    @property
    def dtype(self) -> Literal["float32", "float64"]:
        """The name by which the core knows the dtype computed in."""
        return dtype_of(self.a)

    @property
    def cost_argument(self) -> tuple[int, int, int, int, int, int]:
        """The cost as the core takes it; of points only the sizes."""
        if self.cost is None:
            return 0, self.batch, self.n, self.m, 0, self.m
        return cost_argument(self.cost, self.batch)

    @property
    def points_argument(self) -> tuple[int, int, int, int, int, int]:
        """The points as the core takes them."""
        if self.clouds is None:
            return NO_POINTS
        (x, y), metric = self.clouds, METRICS.index(self.metric)
        x_stride = x.stride(0) if x.ndim == 3 else 0
        y_stride = y.stride(0) if y.ndim == 4 else 0
        return x.data_ptr(), y.data_ptr(), x.shape[-1], x_stride, y_stride, metric

    @property
    def arguments(
        self,
    ) -> tuple[tuple[int, int, int, int, int, int], tuple[int, int], tuple[int, int]]:
        """Cost, a and b as the core takes them."""
        return self.cost_argument, vector_argument(self.a), vector_argument(self.b)


def potential_arguments(
    f_init: Tensor | None, g_init: Tensor | None
) -> tuple[tuple[Tensor, ...], tuple[int, int], tuple[int, int]]:
    """A warm start as the core takes it, after the tensors that must stay alive."""
    if f_init is None or g_init is None:
        return (), NOT_GIVEN, NOT_GIVEN
    f, g = f_init.double().contiguous(), g_init.double().contiguous()
    return (f, g), vector_argument(f), vector_argument(g)
