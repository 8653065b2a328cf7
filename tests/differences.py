"""Derivatives by central differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def central(function: Callable[[Tensor], Tensor], point: Tensor, step: float = 1e-5) -> Tensor:
    """The gradient of a scalar function."""
    gradient = torch.empty_like(point)
    for index in range(point.numel()):
        move = torch.zeros_like(point).view(-1)
        move[index] = step
        move = move.view_as(point)
        with torch.no_grad():
            change = function(point + move) - function(point - move)
        gradient.view(-1)[index] = change / (2 * step)
    return gradient
