"""What all results have: the fields, and what is made of them when it is read."""

from __future__ import annotations

import abc
import collections
import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from kantorch import ops
from kantorch._result.inputs import versions
from kantorch.errors import ADVICE, ConvergenceError, Status


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class OTResult(abc.ABC):
    """The answer to one problem or, with a leading dimension everywhere, to a batch; immutable.

    What is not asked for is not paid for: the plan, the lower bound and all that is made from them are
    computed when they are read, each time they are read. Only `value` and, for Sinkhorn, `plan` and
    `value_linear` are differentiable; everything else is detached.
    """

    value: Tensor
    """(..) The optimised objective, differentiable. Exact and IPOT: ``<P, C>``. Sinkhorn "kl": ``<a, f> +
    <b, g> - reg (sum P - mass)``; "entropy": that plus ``reg (sum a log a + sum b log b)``."""
    n_iter: Tensor
    """(..) int64. Iterations made, in the unit of `max_iter`."""
    status: Tensor
    """(..) int32, of `Status`."""
    _cost: ops.Cost
    _a: Tensor
    _b: Tensor
    _value: Tensor
    """(..) `value` as it was computed: what is made of it does not follow an edit of `value`."""
    _f: Tensor
    _g: Tensor
    _marginal_error: Tensor
    _versions: tuple[int, ...] | None

    @property
    @abc.abstractmethod
    def plan(self) -> Tensor:
        """(.., n, m) The transport plan P."""

    @property
    @abc.abstractmethod
    def value_linear(self) -> Tensor:
        """(..) ``<P, C>``."""

    @property
    @abc.abstractmethod
    def marginal_a(self) -> Tensor:
        """(.., n) Row sums of the plan."""

    @property
    @abc.abstractmethod
    def marginal_b(self) -> Tensor:
        """(.., m) Column sums of the plan."""

    @property
    def marginal_error(self) -> Tensor:
        """(..) L1 error of both marginals, relative to the mass."""
        return self._marginal_error.to(self._cost.dtype, copy=True)

    @property
    def potential_a(self) -> Tensor:
        """(.., n) f, finite everywhere. Defined up to a constant moved from f to g.

        exact: optimal dual, ``f_i + g_j <= C_ij`` up to rounding. sinkhorn: ``P_ij = a_i b_j exp((f_i +
        g_j - C_ij) / reg)``. ipot: ``(beta / t) log U``, c-transformed at points without mass, where a
        Newton step stands for as many steps t as it brings the plan forward.
        """
        return self.potentials[0]

    @property
    def potential_b(self) -> Tensor:
        """(.., m) g; see `potential_a`."""
        return self.potentials[1]

    @property
    def potentials(self) -> tuple[Tensor, Tensor]:
        """(f, g), as `potentials_init` takes them."""
        return in_range(self._f.detach(), self._g.detach(), self._cost.dtype)

    @property
    def lower_bound(self) -> Tensor:
        """(..) A certified lower bound on the unregularised optimum.

        The value of a feasible dual point made from f and g by c-transforms in float64, rounded down by all
        that may be wrong with it, and then to the result's dtype: it is never above the optimum.
        """
        bound = self._certified_bound()
        rounded = bound.to(self._cost.dtype)
        below = torch.nextafter(rounded, torch.full_like(rounded, -torch.inf))
        return torch.where(rounded.double() > bound, below, rounded)

    @property
    def gap(self) -> Tensor:
        """(..) `value_linear` minus `lower_bound`; below 0 only by rounding, or while the marginals are off."""
        return (self._linear() - self._bound()).to(self._cost.dtype)

    @property
    def converged(self) -> Tensor:
        """(..) bool. Whether the status is OPTIMAL or CONVERGED."""
        return self.status <= int(Status.CONVERGED)

    def check(self) -> OTResult:
        """Return self if every problem has converged or made its fixed number of iterations.

        Raises:
            ConvergenceError: otherwise, with advice.
        """
        failed = (self.status > int(Status.FIXED_ITERATIONS)).reshape(-1)
        if not bool(failed.any()):
            return self
        first = int(failed.nonzero()[0])
        status = Status(int(self.status.reshape(-1)[first]))
        msg = (
            f"{int(failed.sum())} of {failed.numel()} problems did not converge; the first, {first}, "
            f"ended with {status.name} after {int(self.n_iter.reshape(-1)[first])} iterations at "
            f"{self._reached(first)}: {self._advice(status)}"
        )
        raise ConvergenceError(msg)

    def _reached(self, problem: int) -> str:
        """What a problem's tolerance was compared with."""
        return f"marginal error {float(self.marginal_error.reshape(-1)[problem]):.3g}"

    def _advice(self, status: Status) -> str:
        advice = ADVICE[status]
        if status is Status.PRECISION_LIMIT and self._cost.dtype != torch.float64:
            advice = f"use float64, {advice}"
        return advice

    def __getstate__(self) -> dict[str, Any]:
        # A graph belongs to the tensors that were solved: what is made of other tensors has none. Those
        # count their in-place changes afresh.
        fields = {
            name: field.detach() if hasattr(field, "detach") else field
            for name, field in self.__dict__.items()
        }
        return fields | {"_versions": None}

    def __copy__(self) -> Self:
        # The tensors are the same, and so are their graph and their changes.
        return dataclasses.replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(**copy.deepcopy(self.__getstate__(), memo))

    def __repr__(self) -> str:
        n, m = self._cost.shape[-2:]
        counts = collections.Counter(Status(code).name for code in self.status.reshape(-1).tolist())
        statuses = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        batch = "x".join(map(str, self.status.shape)) or "1"
        return f"{type(self).__name__}({batch} of {n} x {m}: {statuses or 'none'})"

    def _bound(self) -> Tensor:
        self._require_unchanged()
        f, g = self._flat(self._f.detach(), 1), self._flat(self._g.detach(), 1)
        a, b = self._shared(self._a.detach(), 1), self._shared(self._b.detach(), 1)
        cost = self._folded_cost().detach()
        return self._lead(ops.dual_bound(*cost.operands, f, g, a, b, 0))

    def _certified_bound(self) -> Tensor:
        """`lower_bound` in float64."""
        return self._bound()

    @abc.abstractmethod
    def _linear(self) -> Tensor:
        """<P, C> in float64, detached."""

    def _lead(self, batched: Tensor) -> Tensor:
        """Give the one batch dimension of the ops the shape of the result's batch."""
        return batched.reshape(self._f.shape[:-1] + batched.shape[1:])

    def _flat(self, tensor: Tensor, own: int) -> Tensor:
        """Fold the batch dimensions, none or, after `vmap`, several, into the one of the ops."""
        return tensor.reshape(-1, *tensor.shape[tensor.ndim - own :])

    def _shared(self, tensor: Tensor, own: int) -> Tensor:
        """The same of an input, which the problems of a batch may share."""
        lead = self._f.shape[:-1]
        given = tensor.ndim - own
        if given == 0:
            return tensor
        if given < len(lead):  # `vmap` mapped it and the batch inside shares it
            fill = tensor.reshape(
                *tensor.shape[:given], *[1] * (len(lead) - given), *tensor.shape[given:]
            )
            tensor = fill.expand(*lead, *tensor.shape[given:])
        return self._flat(tensor, own)

    def _folded_cost(self) -> ops.Cost:
        """The same of the cost."""
        return self._cost.map(lambda tensor: self._shared(tensor, 2))

    def _require_unchanged(self) -> None:
        if self._versions is None:
            return
        names = (*self._cost.names, "a", "b")
        now = versions(self._cost, self._a, self._b) or self._versions
        for name, version, then in zip(names, now, self._versions, strict=True):
            if version != then:
                msg = (
                    f"{name} was changed in place after the solve: the field would not belong to it"
                )
                raise RuntimeError(msg)


def in_range(f: Tensor, g: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Potentials in a dtype, finite: their free constant brings them into its range where that helps."""
    top = torch.finfo(dtype).max
    if f.dtype != dtype:
        (low_f, high_f), (low_g, high_g) = ((p.amin(-1), p.amax(-1)) for p in (f, g))
        beyond = torch.maximum(torch.maximum(-low_f, high_f), torch.maximum(-low_g, high_g)) > top
        shift = (low_f / 4 + high_f / 4) - (low_g / 4 + high_g / 4)
        shift = torch.where(beyond, shift, torch.zeros_like(shift))[..., None]
        f, g = f - shift, g + shift
    f, g = (p.clamp(-top, top).to(dtype) for p in (f, g))
    return f, g
