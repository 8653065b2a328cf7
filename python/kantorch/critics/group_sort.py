"""Orthogonal layers with sorted groups: 1-Lipschitz networks that keep the norm of gradients."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor, nn

from kantorch._check import require_at_least
from kantorch.critics._check import require_points, require_widths
from kantorch.critics.orthogonal import OrthogonalMap, orthogonal_linear

if TYPE_CHECKING:
    from collections.abc import Sequence


def group_sort(x: Tensor, group_size: int | None = None) -> Tensor:
    """Sort groups of neighbouring coordinates, largest first.

    Args:
        x: (.., width).
        group_size: Coordinates in a group; it divides the width. None: all of them. 2 is known as
            OPLU or MaxMin.

    Raises:
        ValueError: If `group_size` does not divide the width.

    Source:
        Anil, Lucas, Grosse, Sorting out Lipschitz function approximation, ICML 2019.

    >>> import torch
    >>> group_sort(torch.tensor([1.0, 2.0, 3.0, 4.0]), 2)
    tensor([2., 1., 4., 3.])
    """
    width = x.shape[-1]
    group = width if group_size is None else group_size
    if group < 1 or width % group:
        msg = f"group_size must divide the width {width}, got {group_size}"
        raise ValueError(msg)
    grouped = x.reshape(*x.shape[:-1], width // group, group)
    return grouped.sort(dim=-1, descending=True).values.flatten(-2)


class GroupSortNet(nn.Module):
    """A 1-Lipschitz network of orthogonal layers and sorted groups, with one output.

    Unlike ReLU, sorting does not shorten gradients, so the network can have gradients of norm 1. It
    need not: where a layer is wider than what it reads, its transpose shortens some of them.

    Args:
        dimension: Coordinates of a point, at least 1.
        hidden: Widths of the hidden layers.
        group_size: See `group_sort`; it divides every width.
        orthogonal_map: See `orthogonal_linear`.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        Anil, Lucas, Grosse, ICML 2019; [Lip-SO] of the thesis on adversarial transfer.

    >>> import torch
    >>> GroupSortNet(3, (8, 8), group_size=2)(torch.randn(5, 3)).shape
    torch.Size([5])
    """

    def __init__(
        self,
        dimension: int,
        hidden: Sequence[int] = (128, 128),
        *,
        group_size: int | None = None,
        orthogonal_map: OrthogonalMap = "bjorck",
    ) -> None:
        super().__init__()
        self.dimension = require_at_least("dimension", dimension, 1)
        hidden = require_widths("hidden", hidden)
        for place, width in enumerate(hidden):
            if group_size is not None and (group_size < 1 or width % group_size):
                msg = f"group_size must divide hidden[{place}] = {width}, got {group_size}"
                raise ValueError(msg)
        self.group_size = group_size
        widths = (dimension, *hidden, 1)
        self.layers = nn.ModuleList(
            orthogonal_linear(n, m, orthogonal_map) for n, m in pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the values (..) at points (.., dimension).

        Raises:
            ValueError: If the points have another number of coordinates.
        """
        require_points(x, self.dimension)
        *inner, last = self.layers
        for layer in inner:
            x = group_sort(layer(x), self.group_size)
        values: Tensor = last(x)
        return values.squeeze(-1)

    def extra_repr(self) -> str:
        """Show the sizes."""
        return f"{self.dimension}, group_size={self.group_size}"
