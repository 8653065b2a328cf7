"""Answers of IPOT, for costs without a constant that is added again."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from typing_extensions import Self

from kantorch import ops
from kantorch._result.base import in_range
from kantorch._result.pytree import pytree_node
from kantorch._result.scaling import ScalingResult
from kantorch.errors import Status
from kantorch.ops._sums import total


@pytree_node
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
        return in_range(f, g, self._cost.dtype)

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
