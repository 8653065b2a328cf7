"""The derivative of an unregularised value with respect to the masses."""

from __future__ import annotations

from torch import Tensor

from kantorch.ops.gibbs import reduce_batch


def mass_gradients(
    grad_value: Tensor, f: Tensor, g: Tensor, a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """The duals, less their means: the derivative along directions that keep the mass.

    The optimal duals are piecewise constant in the problem, so they count as constants.
    """
    of_a = grad_value[:, None] * (f - f.mean(-1, keepdim=True))
    of_b = grad_value[:, None] * (g - g.mean(-1, keepdim=True))
    return reduce_batch(of_a.to(a.dtype), a), reduce_batch(of_b.to(b.dtype), b)
