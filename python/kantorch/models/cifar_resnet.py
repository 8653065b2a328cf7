"""Residual networks of bottleneck blocks for small images."""

from __future__ import annotations

from torch import nn

from kantorch._check import require_at_least
from kantorch.models._preactivation import (
    Block,
    PreActivationNet,
    activated,
    conv,
)

EXPANSION = 4


class CifarResNet(PreActivationNet):
    """A ResNet with pre-activated bottlenecks: depth 9 k + 2, k blocks in each of three stages.

    Args:
        depth: Layers with weights, 9 k + 2: 56, 164, 1001 (k = 111), ...
        slim: Divide the width of every block by this. 2 is the slim student: `pool` has 128
            neurons instead of 256.
        classes: Outputs of the head.
        in_channels: Channels of the images.

    Raises:
        ValueError: If the depth is not 9 k + 2, slim is not 1, 2, 4, 8 or 16, or a number is < 1.

    Source:
        He, Zhang, Ren, Sun: Identity mappings in deep residual networks, ECCV 2016, section 3.1 and
        table 4 (ResNet-1001: 10.2 million parameters). Li et al.: Representation Transfer by
        Optimal Transport, section 4.3, trains ResNet-56 and its slim form by ResNet-1001; that the
        identity can be compared says that the first two end in equally many neurons.

    Example:
        >>> import torch
        >>> from kantorch.models import CifarResNet
        >>> CifarResNet(11, classes=5).eval()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self, depth: int, *, slim: int = 1, classes: int = 10, in_channels: int = 3
    ) -> None:
        require_at_least("depth", depth, 11)
        if (depth - 2) % 9:
            msg = f"depth must be 9 k + 2, got {depth}"
            raise ValueError(msg)
        if slim not in (1, 2, 4, 8, 16):
            msg = f"slim must be 1, 2, 4, 8 or 16, got {slim!r}"
            raise ValueError(msg)
        widths = [EXPANSION * base // slim for base in (16, 32, 64)]
        super().__init__(bottleneck, widths, (depth - 2) // 9, classes, in_channels)


def bottleneck(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A block of three convolutions, the middle one on a quarter of the channels."""
    inner = outputs // EXPANSION
    body = nn.Sequential(
        conv(inputs, inner, 1, stride),
        activated(inner),
        conv(inner, inner, 3),
        activated(inner),
        conv(inner, outputs, 1),
    )
    return Block(inputs, outputs, stride, body)
