"""Answers of the scaling family, and Sinkhorn's, which are differentiable."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from typing_extensions import Self

from kantorch import ops
from kantorch._result.base import OTResult
from kantorch._result.inputs import keep
from kantorch._result.pytree import pytree_node
from kantorch.ops._define import values_are_at_hand
from kantorch.ops._sums import total


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ScalingResult(OTResult):
    """An answer of the scaling family: the plan is ``a_i b_j exp((f_i + g_j - C_ij) / eps)``."""

    _eps: Tensor
    _value_linear: Tensor
    _row_sum: Tensor
    _col_sum: Tensor
    _met_bound: Tensor
    """(..) A lower bound that the solver met, or -inf."""

    @classmethod
    def of(
        cls,
        cost: ops.Cost,
        a: Tensor,
        b: Tensor,
        outputs: ops.ScalingOutputs,
        batched: bool,
    ) -> Self:
        """Wrap the outputs of `ops.sinkhorn` or `ops.ipot`."""
        out = outputs if batched else type(outputs)(*[o.squeeze(0) for o in outputs])
        if not cls._has_graph(out.f):  # solved without gradients: then nothing made from it has any
            cost, a, b = cost.detach(), a.detach(), b.detach()
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
            _eps=out.eps,
            _value_linear=out.value_linear,
            _row_sum=out.row_sum,
            _col_sum=out.col_sum,
            _met_bound=out.bound,
        )

    @classmethod
    def _has_graph(cls, f: Tensor) -> bool:
        """Whether gradients flow, or may flow, through these potentials."""
        return False

    @property
    def plan(self) -> Tensor:
        """(.., n, m) The transport plan P; differentiable for Sinkhorn, by implicit differentiation."""
        return self._lead(self._flat_plan())

    def _flat_plan(self) -> Tensor:
        """The plan in one batch dimension."""
        self._require_unchanged()
        plan: Tensor = ops.gibbs(
            self._folded_cost().solved_matrix(),
            self._flat(self._f, 1),
            self._flat(self._g, 1),
            self._shared(self._a, 1),
            self._shared(self._b, 1),
            self._eps.reshape(-1),
            0,
        )
        return plan

    @property
    def marginal_a(self) -> Tensor:
        """(.., n) Row sums of the plan."""
        return self._row_sum.to(self._cost.dtype, copy=True)

    @property
    def marginal_b(self) -> Tensor:
        """(.., m) Column sums of the plan."""
        return self._col_sum.to(self._cost.dtype, copy=True)

    def _linear(self) -> Tensor:
        return self._value_linear.detach()

    def _bound(self) -> Tensor:
        return torch.maximum(super()._bound(), self._met_bound)


@pytree_node
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SinkhornResult(ScalingResult):
    """An answer of Sinkhorn."""

    @classmethod
    def _has_graph(cls, f: Tensor) -> bool:
        # Inside vmap a tensor does not tell whether the one that it maps over requires a gradient, and
        # in a trace not whether one that it stands for does. TorchScript keeps no grad mode either.
        if torch.compiler.is_compiling():
            return f.requires_grad or torch._C._are_functorch_transforms_active()
        return (
            f.requires_grad
            or torch._C._get_tracing_state() is not None
            or (torch.is_grad_enabled() and not values_are_at_hand())
        )

    @property
    def value_linear(self) -> Tensor:
        """(..) ``<P, C>``."""
        if self._has_graph(self._f):
            paid = self._flat_plan() * self._folded_cost().solved_matrix()
            linear = self._lead(total(paid.flatten(-2)))
            # The solver's own number, whether or not a graph hangs on it.
            same = self._linear().to(linear.dtype) + (linear - linear.detach())
            return torch.where(torch.isfinite(linear), same, linear)
        return self._value_linear.to(self._cost.dtype, copy=True)
