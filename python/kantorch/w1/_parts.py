"""Points in parts, for matrices of which only some rows are held at once."""

from __future__ import annotations

import torch
from torch import Tensor

_CELLS = 1 << 20  # of a matrix held at once, unless one row has more


def split(points: Tensor, columns: int) -> tuple[Tensor, ...]:
    """Parts of points (n, D) so small that a row of `columns` numbers for each point fits."""
    return torch.split(points, max(1, _CELLS // columns))
