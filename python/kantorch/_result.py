"""What `solve` returns."""

from __future__ import annotations

import abc
import collections
import copy
import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.utils import _pytree
from typing_extensions import Self

from kantorch import ops
from kantorch.errors import ADVICE, ConvergenceError, Status
from kantorch.ops._define import values_are_at_hand
from kantorch.ops._sums import total
from kantorch.ops.exact import scatter_plan


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
        return _in_range(self._f.detach(), self._g.detach(), self._cost.dtype)

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
        now = _versions(self._cost, self._a, self._b) or self._versions
        for name, version, then in zip(names, now, self._versions, strict=True):
            if version != then:
                msg = (
                    f"{name} was changed in place after the solve: the field would not belong to it"
                )
                raise RuntimeError(msg)


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
        cost, a, b, versions = _kept(cost, a, b)
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
        cost, a, b, versions = _kept(cost, a, b)
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


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class IpotResult(ScalingResult):
    """An answer of IPOT, made of detached inputs: only `value` is differentiable."""

    _constant: Tensor | None = None
    """(..) What was taken from the user's cost before the solve; the other fields are those without it."""

    _rounding: Tensor | None = None
    """(..) By which part of them the costs before may be above those that were meant."""

    def plus(self, constant: Tensor, rounding: float) -> Self:
        """The result of a cost that is larger by a constant (..), with costs rounded by this part of them."""
        constant = constant.double().expand(self.status.shape)
        parts = torch.full_like(constant, rounding)
        full = dataclasses.replace(self, _constant=constant, _rounding=parts)
        whole = self._value + full._of_mass(constant)
        value = whole.to(self.value.dtype, copy=True)
        held = torch.isfinite(value.detach()) | (self.status == int(Status.BAD_INPUT))
        status = torch.where(held, self.status, int(Status.PRECISION_LIMIT))
        return dataclasses.replace(
            full, value=value, _value=whole, status=status.to(self.status.dtype)
        )

    def _of_mass(self, each: Tensor) -> Tensor:
        """What a unit of mass costs (..), for the masses of the problems, in float64."""
        mass = total(self._a.detach().double())
        shared = max(each.ndim - mass.ndim, 0)  # dimensions of a batch of equal weights
        # One dimension more, as torch cannot multiply numbers of an empty batch under vmap.
        mass = mass.reshape(mass.shape + (1,) * (shared + 1))
        return (each[..., None] * mass).squeeze(-1)

    def _certified_bound(self) -> Tensor:
        bound = self._bound()
        if self._constant is None or self._rounding is None:
            return bound
        # The numbers that are left may have been rounded up, by their last digit.
        bound = bound - torch.finfo(self._cost.dtype).eps / 2 * bound.abs()
        added = self._of_mass(self._constant)
        # Numbers too small to be normal are rounded by a part of the smallest one that is.
        least = 2 * torch.finfo(self._cost.dtype).smallest_normal
        bound = bound + (added - 2.0**-48 * added.abs()) - self._of_mass(self._rounding * least)
        return torch.where(bound > 0, bound * (1 - self._rounding), bound)

    @property
    def value_linear(self) -> Tensor:
        """(..) ``<P, C>``, which is `value`."""
        return self._value.to(self._cost.dtype, copy=True)

    @property
    def potential_a(self) -> Tensor:
        """(.., n) ``(beta / t) log U``, c-transformed at points without mass."""
        return self.potentials[0]

    @property
    def potential_b(self) -> Tensor:
        """(.., m) ``(beta / t) log V``, c-transformed at points without mass."""
        return self.potentials[1]

    @property
    def potentials(self) -> tuple[Tensor, Tensor]:
        """(f, g), as `potentials_init` takes them."""
        f, g = self._scaling_potentials()
        if self._constant is not None:
            f = f + self._constant[..., None]
        return _in_range(f, g, self._cost.dtype)

    def _reached(self, problem: int) -> str:
        gap = float(self.gap.reshape(-1)[problem])
        return (
            f"{super()._reached(problem)} and gap {gap:.3g}, which may be tol times the spread of the "
            "costs"
        )

    def _advice(self, status: Status) -> str:
        if status is Status.MAX_ITERATIONS:  # the default beta is about the quickest
            return "raise max_iter or loosen tol"
        return super()._advice(status).replace("reg", "beta")

    def _scaling_potentials(self) -> tuple[Tensor, Tensor]:
        self._require_unchanged()
        f, g = ops.scaling_potentials(
            *self._folded_cost().operands,
            self._flat(self._f, 1),
            self._flat(self._g, 1),
            self._shared(self._a, 1),
            self._shared(self._b, 1),
            self._eps.reshape(-1),
        )
        return self._lead(f), self._lead(g)


def _in_range(f: Tensor, g: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
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


def _kept(
    cost: ops.Cost, a: Tensor, b: Tensor
) -> tuple[ops.Cost, Tensor, Tensor, tuple[int, ...] | None]:
    """What a result keeps of its inputs, and the numbers of their in-place changes so far, if they are known.

    Of tensors made in inference mode torch does not count the changes: of these it keeps copies.
    """
    tensors = (*cost.tensors, a, b)
    if _are_plain(tensors) and any(tensor.is_inference() for tensor in tensors):
        return cost.map(torch.clone), a.clone(), b.clone(), None
    return cost, a, b, _versions(cost, a, b)


def _versions(cost: ops.Cost, a: Tensor, b: Tensor) -> tuple[int, ...] | None:
    """The numbers of in-place changes so far, where torch counts them."""
    tensors = (*cost.tensors, a, b)
    if not _are_plain(tensors) or any(tensor.is_inference() for tensor in tensors):
        return None
    return tuple([tensor._version for tensor in tensors])


def _are_plain(tensors: tuple[Any, ...]) -> bool:
    """Whether these are tensors that tell of their changes; a pytree may be filled with something else."""
    return not torch.compiler.is_compiling() and all(
        isinstance(tensor, Tensor) and not is_functorch_wrapped_tensor(tensor) for tensor in tensors
    )


def _register(cls: type[OTResult]) -> None:
    """Make a result a pytree node, so that functions under vmap can return it."""
    names = [field.name for field in dataclasses.fields(cls) if field.name != "_versions"]

    def flatten(result: OTResult) -> tuple[list[Any], None]:
        return [getattr(result, name) for name in names], None

    def unflatten(tensors: Iterable[Any], _: None) -> OTResult:
        fields = dict(zip(names, tensors, strict=True))
        kept = _kept(fields["_cost"], fields["_a"], fields["_b"])
        return cls(**fields | dict(zip(("_cost", "_a", "_b", "_versions"), kept, strict=True)))

    _pytree.register_pytree_node(cls, flatten, unflatten)


for _result in (ExactResult, LineResult, SinkhornResult, IpotResult):
    _register(_result)
