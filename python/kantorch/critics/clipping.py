"""Weights in a box, the first way to bound a critic's Lipschitz constant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kantorch._check import require_positive

if TYPE_CHECKING:
    from torch import nn


@torch.no_grad()
def clip_weights(critic: nn.Module, bound: float) -> None:
    """Move every parameter into [-bound, bound], in place, after a step of the optimizer.

    Raises:
        ValueError: If `bound` is not finite and > 0.

    Source:
        Arjovsky, Chintala, Bottou, Wasserstein GAN, 2017.

    >>> import torch
    >>> layer = torch.nn.Linear(2, 2)
    >>> clip_weights(layer, 0.01)
    >>> bool(layer.weight.abs().max() <= 0.01)
    True
    """
    require_positive("bound", bound)
    for parameter in critic.parameters():
        parameter.clamp_(-bound, bound)
