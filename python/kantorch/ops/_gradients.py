"""The derivative of an unregularised value with respect to the masses."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kantorch.ops._sums import less_mean
from kantorch.ops.gibbs import reduce_batch


def mass_gradients(
    grad_value: Tensor, f: Tensor, g: Tensor, a: Tensor, b: Tensor, need: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The duals, less their means: the derivative along directions that keep the mass, for those that need it.

    The optimal duals are piecewise constant in the problem, so they count as constants.
    """
    found: list[Tensor | None] = [None, None]
    for side, (dual, weights) in enumerate(((f, a), (g, b))):
        if need[side]:
            centred = grad_value[:, None] * less_mean(dual)
            found[side] = reduce_batch(centred.to(weights.dtype), weights)
    return found[0], found[1]
