"""A critic whose gradient has norm 1 almost everywhere: unit affine maps under min and max."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from kantorch._check import require_at_least
from kantorch.critics._check import require_points, require_widths
from kantorch.critics.orthogonal import OrthogonalMap, orthogonalise

if TYPE_CHECKING:
    from collections.abc import Sequence


def min_max(values: Tensor, temperature: float = 0.0) -> Tensor:
    """Reduce the last dimension by maxima and minima of pairs, level by level in turn.

    The first level takes maxima. An odd one out passes to the next level.

    Args:
        values: (.., k), k >= 1.
        temperature: 0 for maxima and minima. T > 0 for +-T log(exp(+-u / T) + exp(+-v / T)), which
            also gives the one that lost a share of the gradient. Shares are convex: what does not
            expand distances still does not. One below the range of the dtype counts as 0.

    Returns:
        (..); at temperature 0 one of the k values. NaN where one of them is NaN.

    Raises:
        ValueError: If there is no value, or the temperature is negative, not finite or beyond the dtype.

    >>> import torch
    >>> min_max(torch.tensor([1.0, 5.0, 2.0, 3.0]))  # min(max(1, 5), max(2, 3))
    tensor(3.)
    """
    if not (math.isfinite(temperature) and temperature >= 0):
        msg = f"temperature must be finite and >= 0, got {temperature!r}"
        raise ValueError(msg)
    if values.ndim == 0 or values.shape[-1] == 0:
        msg = f"values must have shape (.., k), k >= 1, got {tuple(values.shape)}"
        raise ValueError(msg)
    held = torch.finfo(values.dtype if values.is_floating_point() else torch.get_default_dtype())
    if temperature > held.max:
        msg = f"temperature must be at most {held.max} in {values.dtype}, got {temperature!r}"
        raise ValueError(msg)
    if temperature < held.tiny:
        # Which value it is needs no graph: the gradient passes through one value, not the levels.
        with torch.no_grad():
            place = _arg_min_max(values)
        return values.gather(-1, place)[..., 0]
    scale = temperature
    while values.shape[-1] > 1:
        count = values.shape[-1]
        one, other = values[..., 0 : count - 1 : 2], values[..., 1:count:2]
        # About the winner, for u / T overflows and, in half precision, loses its digits. The clamp keeps
        # second derivatives from inf / inf where the share of the loser is below the range.
        winner = (torch.maximum if scale > 0 else torch.minimum)(one, other).detach()
        origin = torch.where(winner.isinf(), 0, winner)
        behind = [((u - origin) / scale).clamp(min=math.log(held.tiny)) for u in (one, other)]
        paired = winner + scale * torch.logaddexp(*behind)
        values = torch.cat([paired, values[..., -1:]], -1) if count % 2 else paired
        scale = -scale
    return values[..., 0]


def _arg_min_max(values: Tensor) -> Tensor:
    """Which of the last dimension `min_max` returns, (.., 1)."""
    levels = []
    largest = True
    while values.shape[-1] > 1:
        levels.append(values)
        count = values.shape[-1]
        one, other = values[..., 0 : count - 1 : 2], values[..., 1:count:2]
        paired = torch.maximum(one, other) if largest else torch.minimum(one, other)
        values = torch.cat([paired, values[..., -1:]], -1) if count % 2 else paired
        largest = not largest
    # Down again: of the two children the one that has the value.
    place = torch.zeros_like(values, dtype=torch.long)
    for level in reversed(levels):
        place = 2 * place
        one = level.gather(-1, place)
        place = place + ((one != values) & ~one.isnan()).long()  # NaN differs from itself
    return place


class MinMaxTree(nn.Module):
    """Strongly 1-Lipschitz: |f(x) - f(y)| <= |x - y|, and |grad f| = 1 almost everywhere.

    Affine units <w_i, x> + b_i with unit rows w_i under `min_max`. A minimum or maximum of strongly
    1-Lipschitz functions is one, since almost everywhere it has the gradient of one of them. The
    tree picks a row, and so the gradient.

    With `hidden` units read features: semi-orthogonal layers, each followed by a full sort. Their
    Jacobian J has orthonormal rows, so J^T maps the unit gradient of the tree to a unit gradient.
    Rows can only be orthonormal where a layer is not wider than what it reads, hence the rule on
    `hidden`; a wider layer would leave f 1-Lipschitz, with a gradient shorter than 1. A sort folds
    space along the planes where two coordinates are equal, so that each unit stands for its images
    in all the parts: what needs a number of affine units that grows exponentially with the
    dimension, such as the distance to a point, needs few folded ones. Branches fold about
    places of their own.

    Args:
        dimension: Coordinates of a point, at least 1.
        units: Leaves of each branch, at least 1. Minima of maxima of unit affine maps come close to
            every strongly 1-Lipschitz function on a bounded set, with enough of them.
        hidden: Widths of the layers before the units, none larger than the one before, the first
            not larger than `dimension`.
        branches: How many subtrees with layers of their own there are, at least 1.
        orthogonal_map: How layers are kept semi-orthogonal, see `orthogonal_linear`.

    Attributes:
        temperature: Of `min_max`, 0 unless it is set. A tree trained from a temperature that falls
            to 0 has fewer units that no sample ever reaches.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        Section 3.3 of the thesis on adversarial transfer, lemmas 3.2 to 3.4. These ask for 1-Lipschitz
        functions, but hold for strongly 1-Lipschitz ones, and 3.4 for inner maps with J J^T = I.
        Branches and temperature are ours.

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
        branches: int = 1,
        orthogonal_map: OrthogonalMap = "bjorck",
    ) -> None:
        super().__init__()
        self.dimension = require_at_least("dimension", dimension, 1)
        self.units = require_at_least("units", units, 1)
        self.branches = require_at_least("branches", branches, 1)
        self.temperature = 0.0
        layers = []
        width = dimension
        for place, wanted in enumerate(require_widths("hidden", hidden)):
            if wanted > width:
                msg = (
                    f"hidden[{place}] must be at most {width}, the width before it, got {wanted}: "
                    "a wider layer has no orthonormal rows"
                )
                raise ValueError(msg)
            layers.append(orthogonalise(_Layer(branches, width, wanted), orthogonal_map))
            width = wanted
        self.layers = nn.ModuleList(layers)
        self.weight = nn.Parameter(normalize(torch.randn(branches, units, width), dim=2))
        self.bias = nn.Parameter(torch.randn(branches, units) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (..) at points (.., dimension).

        Raises:
            ValueError: If the points have another number of coordinates.
        """
        require_points(x, self.dimension)
        points = x.reshape(-1, self.dimension)
        rows = normalize(self.weight, dim=2)
        units = self._features(points, len(self.layers)) @ rows.mT + self.bias[:, None]
        leaves = units.transpose(0, 1).flatten(1)  # a branch is a subtree
        return min_max(leaves, self.temperature).reshape(x.shape[:-1])

    def _features(self, x: Tensor, depth: int) -> Tensor:
        """Sorted outputs (branches, n, width) of the first layers at points (n, dimension)."""
        features = x.expand(self.branches, *x.shape)
        for layer in self.layers[:depth]:
            features = layer(features).sort(dim=-1, descending=True).values
        return features

    @torch.no_grad()
    def anchor(self, points: Tensor, generator: torch.Generator | None = None) -> None:
        """Choose the biases so that folds and units pass through sample points.

        Units that are far from all samples never win and are never trained.

        Args:
            points: (N, dimension).
            generator: Draws the points of each layer and unit. None: torch's own.

        Raises:
            ValueError: If the points have another number of coordinates, or there are none.
        """
        require_points(points, self.dimension)
        if points.ndim != 2 or len(points) == 0:
            msg = f"points must have shape (N, {self.dimension}), got {tuple(points.shape)}"
            raise ValueError(msg)

        def drawn(count: int) -> Tensor:
            index = torch.randint(len(points), (count,), generator=generator, device=points.device)
            return points[index]

        each = torch.arange(self.branches, device=points.device)
        for depth, layer in enumerate(self.layers):
            assert isinstance(layer, _Layer)
            layer.bias.zero_()
            output = layer(self._features(drawn(self.branches), depth))
            layer.bias.copy_(-output[each, each])
        features = self._features(drawn(self.units), len(self.layers))
        self.bias.copy_(-(normalize(self.weight, dim=2) * features).sum(2))

    def extra_repr(self) -> str:
        """Show the sizes."""
        branches = f", branches={self.branches}" if self.branches > 1 else ""
        return f"{self.dimension}, units={self.units}{branches}, temperature={self.temperature}"


class _Layer(nn.Module):
    """One affine map for each branch, (branches, n, inputs) to (branches, n, outputs)."""

    def __init__(self, branches: int, inputs: int, outputs: int) -> None:
        super().__init__()
        start = [nn.init.orthogonal_(torch.empty(outputs, inputs)) for _ in range(branches)]
        self.weight = nn.Parameter(torch.stack(start))
        bound = 1 / math.sqrt(inputs)
        self.bias = nn.Parameter(torch.empty(branches, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each map to the points of its branch."""
        mapped: Tensor = x @ self.weight.mT + self.bias[:, None]
        return mapped
