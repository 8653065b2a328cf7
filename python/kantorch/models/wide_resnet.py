"""Wide residual networks."""

from __future__ import annotations

from torch import nn

from kantorch._check import require_at_least
from kantorch.models._preactivation import Block, PreActivationNet, activated, conv


class WideResNet(PreActivationNet):
    """A wide ResNet WRN-depth-widen: depth 6 k + 4, k blocks in each of three stages.

    Args:
        depth: Layers with weights, 6 k + 4, those of shortcuts counted.
        widen: Factor on the widths 16, 32, 64 of the stages.
        classes: Outputs of the head.
        in_channels: Channels of the images.
        dropout: Probability between the two convolutions of a block, in [0, 1).

    Raises:
        ValueError: If the depth is not 6 k + 4 or a number is out of range.

    Source:
        Zagoruyko, Komodakis: Wide residual networks, BMVC 2016, table 1; WRN-28-10 has 36.5 million
        parameters (table 5).

    Example:
        >>> import torch
        >>> from kantorch.models import WideResNet
        >>> WideResNet(10, 2, classes=5).eval()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        depth: int,
        widen: int,
        *,
        classes: int = 10,
        in_channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        require_at_least("depth", depth, 10)
        require_at_least("widen", widen, 1)
        if (depth - 4) % 6:
            msg = f"depth must be 6 k + 4, got {depth}"
            raise ValueError(msg)
        if not 0 <= dropout < 1:
            msg = f"dropout must be in [0, 1), got {dropout!r}"
            raise ValueError(msg)

        def basic(inputs: int, outputs: int, stride: int) -> nn.Module:
            body = nn.Sequential(
                conv(inputs, outputs, 3, stride),
                activated(outputs),
                *([nn.Dropout(dropout)] if dropout else []),
                conv(outputs, outputs, 3),
            )
            return Block(inputs, outputs, stride, body)

        widths = [widen * base for base in (16, 32, 64)]
        super().__init__(basic, widths, (depth - 4) // 6, classes, in_channels)
