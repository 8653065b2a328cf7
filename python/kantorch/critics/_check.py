"""Checks of the arguments that critics share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kantorch._check import require_at_least

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def require_widths(name: str, widths: Sequence[int]) -> tuple[int, ...]:
    """Check the widths of hidden layers."""
    for place, width in enumerate(widths):
        require_at_least(f"{name}[{place}]", width, 1)
    return tuple(widths)


def require_points(points: Tensor, dimension: int) -> None:
    """Check that points have the coordinates that a critic takes."""
    if points.ndim < 1 or points.shape[-1] != dimension:
        msg = f"x must have shape (.., {dimension}), got {tuple(points.shape)}"
        raise ValueError(msg)
