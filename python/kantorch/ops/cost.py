"""A cost, stored as a matrix or made from points, behind one interface for ops and results."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils import _pytree
from typing_extensions import override

from kantorch.ops._define import values_are_at_hand
from kantorch.ops._layout import Problem
from kantorch.ops.distance import check_points, distances, solved_distances
from kantorch.ops.gibbs import gibbs
from kantorch.ops.point_gradient import point_gradient

# A cost among the arguments of an op: either the matrix or both clouds are given.
SCHEMA = "Tensor? cost, Tensor? x, Tensor? y, str metric"
OWN_DIMS = (2, 2, 2, None)

# Fewer costs between points than this may be stored for the time of a solve, as in csrc/cpu/scaling/cost_rows.hpp.
_STORED = 2**22
# A constant of so many times the spread takes digits from the costs, and its difference to each of them is exact (Sterbenz).
_FAR = 2
# Above the smallest cost, no cost between these parts of the spread and of that is a void, as in csrc/common/cost_range.hpp;
# unless all costs below it are equal; so many heights of blocked cells are looked below.
_VOID = 1e3
_HEIGHTS = 3

Operands = tuple[Tensor | None, Tensor | None, Tensor | None, str]
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, None]  # of the operands


def _with_mass(a: Tensor, b: Tensor, ndim: int) -> Tensor | None:
    """Which pairs of points have mass, in a cost of so many dimensions: in any problem that shares it. None if all have."""
    if values_are_at_hand(a, b) and bool((a > 0).all() and (b > 0).all()):
        return None
    mass = (a > 0)[..., :, None] & (b > 0)[..., None, :]
    return mass.any(0) if mass.ndim > ndim else mass


def _range(cost: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The smallest and the largest of the costs of pairs with mass (.., 1, 1); and the costs, the smallest in place of the others."""
    mass = _with_mass(a, b, cost.ndim)
    if mass is None:
        return cost.amin((-2, -1), keepdim=True), cost.amax((-2, -1), keepdim=True), cost
    low = torch.where(mass, cost, torch.inf).amin((-2, -1), keepdim=True)
    cost = torch.where(mass, cost, low)
    return low, cost.amax((-2, -1), keepdim=True), cost


class Cost(abc.ABC):
    """Costs (n, m) or (B, n, m)."""

    names: ClassVar[tuple[str, ...]]
    """Those of the tensors, for messages."""

    @property
    @abc.abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """What the costs are made of."""

    @property
    @abc.abstractmethod
    def operands(self) -> Operands:
        """What an op takes; see `SCHEMA`."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(n, m) or (B, n, m)."""

    @property
    def ndim(self) -> int:
        """The number of dimensions of the costs."""
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """That of the costs."""
        return self.tensors[0].dtype

    @property
    def device(self) -> torch.device:
        """Where the costs are."""
        return self.tensors[0].device

    @abc.abstractmethod
    def map(self, function: Callable[[Tensor], Tensor]) -> Cost:
        """The cost of changed tensors."""

    def detach(self) -> Cost:
        """The cost without its graph."""
        return self.map(torch.Tensor.detach)

    @abc.abstractmethod
    def matrix(self) -> Tensor:
        """The costs, differentiable."""

    @abc.abstractmethod
    def solved_matrix(self) -> Tensor:
        """Those that the potentials of the scaling family belong to, to the last bit, differentiable."""

    @abc.abstractmethod
    def part(self, problem: int, rows: Tensor, columns: Tensor) -> Tensor:
        """Some rows and columns of one problem's costs, which masks choose."""

    @abc.abstractmethod
    def problem(self, a: Tensor, b: Tensor, scalars: Tensor | None = None) -> Problem:
        """The problem as the core takes it."""

    @abc.abstractmethod
    def check(self) -> None:
        """Raise a ValueError for values that are not finite, where the core does not look at them."""

    @abc.abstractmethod
    def constant_part(self, a: Tensor, b: Tensor) -> Tensor | None:
        """What can be taken from all costs of a problem (..) if it would take digits, else 0; it rounds blocked cells alone.

        Costs of points without mass, which are padding, do not count. None if nothing is ever taken.
        """

    @abc.abstractmethod
    def rounding(self) -> float:
        """By which part of them the numbers of `solved_matrix` may be above those that they stand for."""

    @abc.abstractmethod
    def less(self, constant: Tensor) -> Cost:
        """The cost without a constant (..)."""

    @abc.abstractmethod
    def matrix_and_pullback(self, batch: int) -> tuple[Tensor, Callable[[Tensor], Gradients]]:
        """`solved_matrix`, and what makes a gradient of theirs (B, n, m) one of the operands."""

    @abc.abstractmethod
    def plan_gradients(
        self,
        scale: Tensor,
        f: Tensor,
        g: Tensor,
        a: Tensor,
        b: Tensor,
        eps: Tensor,
        need: tuple[bool, ...],
        threads: int,
    ) -> Gradients:
        """Those of scale <P, C> at the constant plan P = a b exp((f + g - C) / eps), batched.

        Args:
            scale: (B) upstream gradients.
            f: (B, n) float64, see `gibbs`; likewise g, a, b, eps.
            g: see `f`.
            a: see `f`.
            b: see `f`.
            eps: see `f`.
            need: which of the operands want one.
            threads: see `Execution`.
        """


@dataclasses.dataclass(frozen=True)
class Stored(Cost):
    """A cost matrix."""

    names = ("cost",)
    cost: Tensor
    """(n, m) or (B, n, m)"""

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return (self.cost,)

    @property
    @override
    def operands(self) -> Operands:
        return self.cost, None, None, ""

    @property
    @override
    def shape(self) -> tuple[int, ...]:
        return self.cost.shape

    @override
    def map(self, function: Callable[[Tensor], Tensor]) -> Stored:
        return Stored(function(self.cost))

    @override
    def matrix(self) -> Tensor:
        return self.cost

    @override
    def solved_matrix(self) -> Tensor:
        return self.cost

    @override
    def part(self, problem: int, rows: Tensor, columns: Tensor) -> Tensor:
        matrix = self.cost[problem] if self.cost.ndim == 3 else self.cost
        return matrix[rows][:, columns]

    @override
    def problem(self, a: Tensor, b: Tensor, scalars: Tensor | None = None) -> Problem:
        return Problem.stored(self.cost, a, b, scalars)

    @override
    def check(self) -> None:
        """Leave it to the core."""

    @override
    def constant_part(self, a: Tensor, b: Tensor) -> Tensor | None:
        # Blocked cells do not count: their difference is rounded by a part of itself.
        # Numbers are kept as matrices, as torch takes no number and a constant of an empty batch under vmap.
        cost = self.cost.detach()
        spread = cost.amax((-2, -1), keepdim=True) - cost.amin((-2, -1), keepdim=True)
        low, high, cost = _range(cost, a, b)
        near = high - low
        for _ in range(_HEIGHTS):
            is_near = cost <= low + near / _VOID
            below = torch.where(is_near, cost, low).amax((-2, -1), keepdim=True) - low
            is_void = (below > 0) & (below < near / _VOID**2)
            if values_are_at_hand(is_void) and not bool(is_void.any()):
                break
            near = torch.where(is_void, below, near)
        takes_digits = (low.abs() >= _FAR * near) & (spread < torch.inf) & (low < torch.inf)
        return torch.where(takes_digits, low, 0)[..., 0, 0]

    @override
    def rounding(self) -> float:
        return 0.0

    @override
    def less(self, constant: Tensor) -> Stored:
        return Stored(self.cost - constant[..., None, None])

    @override
    def matrix_and_pullback(self, batch: int) -> tuple[Tensor, Callable[[Tensor], Gradients]]:
        return self.cost, lambda of_matrix: (of_matrix, None, None, None)

    @override
    def plan_gradients(
        self,
        scale: Tensor,
        f: Tensor,
        g: Tensor,
        a: Tensor,
        b: Tensor,
        eps: Tensor,
        need: tuple[bool, ...],
        threads: int,
    ) -> Gradients:
        if not need[0]:
            return None, None, None, None
        # Linear in x: the upstream gradient rides on a, without a buffer of its own.
        x = a * scale.to(a.dtype)[:, None]
        return gibbs(self.cost, f, g, x, b, eps, threads), None, None, None


@dataclasses.dataclass(frozen=True)
class Points(Cost):
    """Two clouds of points, which stand for the costs between them."""

    names = ("x", "y")
    x: Tensor
    """(n, d) or (B, n, d)"""
    y: Tensor
    """(m, d) or (B, m, d)"""
    metric: str

    @property
    @override
    def tensors(self) -> tuple[Tensor, ...]:
        return self.x, self.y

    @property
    @override
    def operands(self) -> Operands:
        return None, self.x, self.y, self.metric

    @property
    @override
    def shape(self) -> tuple[int, ...]:
        lead = self.x.shape[:-2] or self.y.shape[:-2]
        return (*lead, self.x.shape[-2], self.y.shape[-2])

    @override
    def map(self, function: Callable[[Tensor], Tensor]) -> Points:
        return Points(function(self.x), function(self.y), self.metric)

    @override
    def matrix(self) -> Tensor:
        return distances(self.x, self.y, self.metric)

    @override
    def solved_matrix(self) -> Tensor:
        return solved_distances(self.x, self.y, self.metric)

    @override
    def part(self, problem: int, rows: Tensor, columns: Tensor) -> Tensor:
        x, y = (points[problem] if points.ndim == 3 else points for points in self.tensors)
        return distances(x[rows], y[columns], self.metric)

    @override
    def problem(self, a: Tensor, b: Tensor, scalars: Tensor | None = None) -> Problem:
        return Problem.between(self.x, self.y, self.metric, a, b, scalars)

    @override
    def check(self) -> None:
        check_points(self.x, self.y, self.metric)

    @override
    def constant_part(self, a: Tensor, b: Tensor) -> Tensor | None:
        n, m = self.shape[-2:]
        if n * m > _STORED:
            return None
        if values_are_at_hand(*self.tensors):
            if not self._may_be_far(a, b):
                return None
            self.check()
        # For each problem by itself: whether others of the batch are far apart must not change it.
        low, high, _ = _range(self.detach().solved_matrix(), a, b)
        return torch.where((low >= _FAR * (high - low)) & (low < torch.inf), low, 0)[..., 0, 0]

    def _may_be_far(self, a: Tensor, b: Tensor) -> bool:
        """False if no problem's smallest cost is `_FAR` times the spread, by one row and column alone."""
        x, y = (points.detach() for points in self.tensors)
        if x.numel() == 0 or y.numel() == 0:
            return False
        if _with_mass(a, b, self.ndim) is not None:  # that row or column may be of padding
            return True

        def far(costs: Tensor) -> Tensor:
            low, high = costs.amin((-2, -1)), costs.amax((-2, -1))
            return low >= _FAR / 2 * (high - low)  # these distances may be rounded otherwise

        row = distances(x[..., :1, :], y, self.metric)
        column = distances(x, y[..., :1, :], self.metric)
        return bool((far(row) & far(column)).any())

    @override
    def rounding(self) -> float:
        # Of sums of d products, as in csrc/cpu/scaling/bound.cpp; half precision is computed in float32.
        dtype = torch.promote_types(self.x.dtype, torch.float32)
        return (self.x.shape[-1] + 6) * torch.finfo(dtype).eps / 2

    @override
    def less(self, constant: Tensor) -> Stored:
        return Stored(self.solved_matrix()).less(constant)

    @override
    def matrix_and_pullback(self, batch: int) -> tuple[Tensor, Callable[[Tensor], Gradients]]:
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            points = [p if p.requires_grad else p.detach().requires_grad_() for p in self.tensors]
            x, y = (p.expand(batch, *p.shape[-2:]) for p in points)
            cost = solved_distances(x, y, self.metric)

        def pull_back(of_matrix: Tensor) -> Gradients:
            of_x, of_y = torch.autograd.grad(cost, (x, y), of_matrix, create_graph=graph)
            return None, of_x, of_y, None

        return cost if graph else cost.detach(), pull_back

    @override
    def plan_gradients(
        self,
        scale: Tensor,
        f: Tensor,
        g: Tensor,
        a: Tensor,
        b: Tensor,
        eps: Tensor,
        need: tuple[bool, ...],
        threads: int,
    ) -> Gradients:
        """In O(n + m) memory."""
        of_x = of_y = None
        scale = scale.to(a.dtype)[:, None]
        metric = self.metric
        if need[1]:
            of_x = point_gradient(self.x, self.y, f, g, a * scale, b, eps, metric, threads)
        if need[2]:
            of_y = point_gradient(self.y, self.x, g, f, b * scale, a, eps, metric, threads)
        return None, of_x, of_y, None


def cost_of(cost: Tensor | None, x: Tensor | None, y: Tensor | None, metric: str) -> Cost:
    """The cost that an op was given; see `SCHEMA`.

    Raises:
        ValueError: neither a matrix nor two clouds, or both.
    """
    if cost is not None and x is None and y is None:
        return Stored(cost)
    if cost is None and x is not None and y is not None:
        return Points(x, y, metric)
    msg = "an op takes either cost, or x and y with a metric"
    raise ValueError(msg)


def _register(cls: type[Any]) -> None:
    """Make a cost a pytree node, so that functions under vmap can return results that hold it."""

    def flatten(cost: Any) -> tuple[list[Tensor], Any]:
        return list(cost.tensors), getattr(cost, "metric", None)

    def unflatten(tensors: Any, metric: Any) -> Any:
        return cls(*tensors) if metric is None else cls(*tensors, metric)

    _pytree.register_pytree_node(cls, flatten, unflatten)


for _cls in (Stored, Points):
    _register(_cls)
