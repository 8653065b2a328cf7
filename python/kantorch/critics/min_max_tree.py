"""A critic whose gradient has norm 1 almost everywhere: unit affine maps under min and max."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from kantorch.critics._check import require_at_least, require_points, require_widths
from kantorch.critics.orthogonal import OrthogonalMap, orthogonal_linear

if TYPE_CHECKING:
    from collections.abc import Sequence


def min_max(values: Tensor) -> Tensor:
    """Reduce the last dimension by maxima and minima of pairs, level by level in turn.

    The first level takes maxima. An odd one out passes to the next level.

    Args:
        values: (.., k), k >= 1.

    Returns:
        (..), one of the k values.

    >>> import torch
    >>> min_max(torch.tensor([1.0, 5.0, 2.0, 3.0]))  # min(max(1, 5), max(2, 3))
    tensor(3.)
    """
    level = torch.maximum, torch.minimum
    depth = 0
    while values.shape[-1] > 1:
        count = values.shape[-1]
        paired = level[depth % 2](values[..., 0 : count - 1 : 2], values[..., 1:count:2])
        values = torch.cat([paired, values[..., -1:]], -1) if count % 2 else paired
        depth += 1
    return values[..., 0]


class MinMaxTree(nn.Module):
    """Strongly 1-Lipschitz: |f(x) - f(y)| <= |x - y|, and |grad f| = 1 almost everywhere.

    Affine units <w_i, x> + b_i with unit rows w_i under `min_max`. A minimum or maximum of strongly
    1-Lipschitz functions is one, since almost everywhere it has the gradient of one of them. The
    tree picks a row, and so the gradient.

    With `hidden` the tree reads features: semi-orthogonal layers, each followed by a full sort.
    Their Jacobian J has orthonormal rows, so J^T maps the unit gradient of the tree to a unit
    gradient. Rows can only be orthonormal where a layer is not wider than what it reads, hence the
    rule on `hidden`; a wider layer would leave f 1-Lipschitz, with a gradient shorter than 1.

    Args:
        dimension: Coordinates of a point, at least 1.
        units: Leaves of the tree, at least 1. Minima of maxima of unit affine maps come close to
            every strongly 1-Lipschitz function on a bounded set, with enough of them.
        hidden: Widths of the layers before the tree, none larger than the one before, the first
            not larger than `dimension`.
        orthogonal_map: How layers are kept semi-orthogonal, see `orthogonal_linear`.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        Section 3.3 of the thesis on adversarial transfer, lemmas 3.2 to 3.4. These ask for 1-Lipschitz
        functions, but hold for strongly 1-Lipschitz ones, and 3.4 for inner maps with J J^T = I.

    Example:
        >>> import torch
        >>> critic = MinMaxTree(3, units=16)
        >>> x = torch.randn(5, 3, requires_grad=True)
        >>> gradient = torch.autograd.grad(critic(x).sum(), x)[0]
        >>> torch.allclose(gradient.norm(dim=1), torch.ones(5))
        True
    """

    def __init__(
        self,
        dimension: int,
        units: int = 64,
        *,
        hidden: Sequence[int] = (),
        orthogonal_map: OrthogonalMap = "bjorck",
    ) -> None:
        super().__init__()
        self.dimension = require_at_least("dimension", dimension, 1)
        self.units = require_at_least("units", units, 1)
        layers = []
        width = dimension
        for place, wanted in enumerate(require_widths("hidden", hidden)):
            if wanted > width:
                msg = (
                    f"hidden[{place}] must be at most {width}, the width before it, got {wanted}: "
                    "a wider layer has no orthonormal rows"
                )
                raise ValueError(msg)
            layers.append(orthogonal_linear(width, wanted, orthogonal_map))
            width = wanted
        self.layers = nn.ModuleList(layers)
        self.weight = nn.Parameter(normalize(torch.randn(units, width), dim=1))
        self.bias = nn.Parameter(torch.randn(units) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (..) at points (.., dimension).

        Raises:
            ValueError: If the points have another number of coordinates.
        """
        require_points(x, self.dimension)
        for layer in self.layers:
            x = layer(x).sort(dim=-1, descending=True).values
        return min_max(nn.functional.linear(x, normalize(self.weight, dim=1), self.bias))

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"{self.dimension}, units={self.units}"
