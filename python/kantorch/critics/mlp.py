"""Networks of linear layers and ReLU, as critics and as maps."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.utils import parametrizations

from kantorch._check import require_at_least
from kantorch.critics._check import require_widths
from kantorch.critics._parametrized import picklable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def mlp(
    dimension: int,
    hidden: Sequence[int],
    outputs: int | None = None,
    *,
    spectral_steps: int | None = None,
) -> nn.Sequential:
    """A network of linear layers with ReLU between them.

    Args:
        dimension: Coordinates of a point, at least 1.
        hidden: Widths of the hidden layers.
        outputs: Coordinates of the result (.., outputs). None: a critic, whose result is (..).
        spectral_steps: Power iterations of spectral normalisation at each training call, at least
            1, which holds every layer near spectral norm 1. None: no normalisation.

    Raises:
        ValueError: If an argument is out of range.

    Source:
        Miyato, Kataoka, Koyama, Yoshida, Spectral normalization, ICLR 2018.

    >>> import torch
    >>> mlp(3, (16, 16))(torch.randn(5, 3)).shape
    torch.Size([5])
    """
    require_at_least("dimension", dimension, 1)
    if outputs is not None:
        require_at_least("outputs", outputs, 1)
    widths = (dimension, *require_widths("hidden", hidden), outputs or 1)
    layers: list[nn.Module] = []
    for n, m in pairwise(widths):
        layer: nn.Module = nn.Linear(n, m)
        if spectral_steps is not None:
            steps = require_at_least("spectral_steps", spectral_steps, 1)
            layer = picklable(parametrizations.spectral_norm(layer, n_power_iterations=steps))
        layers += [layer, nn.ReLU()]
    layers.pop()
    if outputs is None:
        layers.append(_Value())
    return nn.Sequential(*layers)


class _Value(nn.Module):
    """Numbers (..) of the results (.., 1) of a last layer."""

    def forward(self, results: Tensor) -> Tensor:
        return results.squeeze(-1)
