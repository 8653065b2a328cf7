"""Answers of the exact solver, for costs and for points on a line."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kantorch._result.base import OTResult
from kantorch._result.inputs import keep
from kantorch._result.pytree import pytree_node
from kantorch.errors import Status
from kantorch.ops._sums import total
from kantorch.ops.exact import scatter_plan

if TYPE_CHECKING:
    from kantorch import ops


@pytree_node
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ExactResult(OTResult):
    """An answer of the exact solver; the plan has at most n + m - 1 nonzeros."""

    _plan_row: Tensor
    _plan_col: Tensor
    _plan_mass: Tensor

    @classmethod
    def of(
        cls,
        cost: ops.Cost,
        a: Tensor,
        b: Tensor,
        outputs: ops.ExactOutputs,
        batched: bool,
    ) -> ExactResult:
        """Wrap the outputs of `ops.exact`."""
        out = outputs
        if not batched and out.status.ndim:
            out = type(out)(*[tensor.squeeze(0) for tensor in out])
        cost, a, b, versions = keep(cost, a, b)
        return cls(
            value=out.value.to(cost.dtype, copy=True),
            n_iter=out.n_iter,
            status=out.status,
            _cost=cost,
            _a=a,
            _b=b,
            _value=out.value,
            _f=out.f,
            _g=out.g,
            _marginal_error=out.marginal_error,
            _versions=versions,
            _plan_row=out.plan_row,
            _plan_col=out.plan_col,
            _plan_mass=out.plan_mass,
        )

    @property
    def plan(self) -> Tensor:
        """(.., n, m) The transport plan P, dense."""
        row, col = self._flat(self._plan_row, 1), self._flat(self._plan_col, 1)
        mass = self._flat(self._plan_mass, 1).to(self._cost.dtype)
        return self._lead(scatter_plan(row, col, mass, *self._cost.shape[-2:]))

    @property
    def value_linear(self) -> Tensor:
        """(..) ``<P, C>``, which is `value`."""
        return self._value.to(self._cost.dtype, copy=True)

    @property
    def marginal_a(self) -> Tensor:
        """(.., n) Row sums of the plan."""
        return self._sums(self._plan_row, self._f)

    @property
    def marginal_b(self) -> Tensor:
        """(.., m) Column sums of the plan."""
        return self._sums(self._plan_col, self._g)

    def _advice(self, status: Status) -> str:
        if status is Status.MAX_ITERATIONS:
            return "raise max_iter, or leave it out"
        return "the costs differ by more than float64 resolves: rescale or clip them"

    def _sums(self, index: Tensor, like: Tensor) -> Tensor:
        sums = torch.zeros_like(like).scatter_add(-1, index, self._plan_mass)
        return sums.to(self._cost.dtype)

    def _linear(self) -> Tensor:
        return self._value.detach()


@pytree_node
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class LineResult(ExactResult):
    """An exact answer for points on a line, whose costs are nowhere stored."""

    def _bound(self) -> Tensor:
        # The core lowers the potentials until they are feasible but for their own last digits. What is
        # left are roundings of the sums, here of weights that add up to 1: so nothing overflows early.
        f, g = self._flat(self._f.detach(), 1), self._flat(self._g.detach(), 1)
        a = self._shared(self._a.detach(), 1).double()
        b = self._shared(self._b.detach(), 1).double()
        top_a, top_b = a.amax(-1, keepdim=True), b.amax(-1, keepdim=True)
        a, b = a / torch.where(top_a > 0, top_a, 1.0), b / torch.where(top_b > 0, top_b, 1.0)
        mass_a, mass_b = total(a)[..., None], total(b)[..., None]
        a, b = a / torch.where(mass_a > 0, mass_a, 1.0), b / torch.where(mass_b > 0, mass_b, 1.0)
        dual = total(a * f) + total(b * g)
        size = total(a * f.abs()) + total(b * g.abs())
        bound = ((dual - 2.0**-44 * size) * mass_a.squeeze(-1)) * top_a.squeeze(-1)
        largest = f.abs().amax(-1) + g.abs().amax(-1)
        lost = 2.0**-1060 * top_a.squeeze(-1).clamp(min=1.0)  # below the range
        below = torch.where(largest > 0, bound - 2.0**-50 * bound.abs() - lost, 0.0)
        return self._lead(below.nan_to_num(nan=-torch.inf, posinf=torch.finfo(bound.dtype).max))
