"""What residual networks with pre-activation share: blocks in three stages, then pool and head."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from torch import Tensor, nn

from kantorch._check import require_at_least

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STEM = 16
STRIDES = (1, 2, 2)


def activated(channels: int) -> nn.Sequential:
    """Batch normalisation and ReLU."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())


def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size of the map, divided by the stride."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """x + body(activated x); where the shape changes, a 1 x 1 convolution of activated x for x.

    Args:
        inputs: Channels of x.
        outputs: Channels of the result.
        stride: Of the block.
        body: What is added, from activated x.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, body: nn.Module) -> None:
        super().__init__()
        self.first = activated(inputs)
        self.body = body
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map (n, outputs, height / stride, width / stride)."""
        start = self.first(x)
        kept = x if self.shortcut is None else self.shortcut(start)
        added: Tensor = self.body(start)
        return kept + added


class PreActivationNet(nn.Module):
    """A stem, three stages of `count` blocks, pool and head.

    Args:
        block: Makes a block of (inputs, outputs, stride).
        widths: Channels that the blocks of each stage return.
        count: Blocks of each stage.
        classes: Outputs of the head.
        in_channels: Channels of the images.
    """

    def __init__(
        self,
        block: Callable[[int, int, int], nn.Module],
        widths: Sequence[int],
        count: int,
        classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        require_at_least("classes", classes, 1)
        require_at_least("in_channels", in_channels, 1)
        self.stem = conv(in_channels, STEM, 3)
        stages = []
        for (before, width), stride in zip(
            itertools.pairwise((STEM, *widths)), STRIDES, strict=True
        ):
            first = block(before, width, stride)
            stages.append(nn.Sequential(first, *(block(width, width, 1) for _ in range(count - 1))))
        self.stage1, self.stage2, self.stage3 = stages
        self.last = activated(widths[-1])
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(widths[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images (n, in_channels, height, width)."""
        features = self.stage3(self.stage2(self.stage1(self.stem(images))))
        logits: Tensor = self.head(self.pool(self.last(features)))
        return logits
