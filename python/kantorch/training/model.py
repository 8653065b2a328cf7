"""The network of the embedded task: three convolutions, pooled, and a linear head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD = "head"
LAYERS = ("block1", "block2", "block3", "pool")


class ConvNet(nn.Module):
    """A small convolutional network for images from about 8x8 pixels.

    `pool` is the penultimate layer, as wide as the last of `channels`. There is no batch
    normalisation: student and teacher agree exactly at the start, in training mode too.

    Args:
        in_channels: Channels of the images.
        channels: Widths of the three convolutions.
        classes: Outputs of the head.

    Example:
        >>> import torch
        >>> ConvNet(1, (4, 8, 16), classes=5)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 5])
    """

    def __init__(self, in_channels: int, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.channels = tuple(channels)
        first, second, third = channels
        self.block1 = _block(in_channels, first)
        self.block2 = _block(first, second)
        self.reduce = nn.MaxPool2d(2)
        self.block3 = _block(second, third)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(third, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the penultimate layer's (n, channels[-1])."""
        pooled: Tensor = self.pool(self.block3(self.reduce(self.block2(self.block1(images)))))
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images (n, channels, height, width)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())


def make_network(in_channels: int, channels: Sequence[int], classes: int, seed: int) -> ConvNet:
    """Make a network with weights drawn from `seed`, without touching the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ConvNet(in_channels, channels, classes)


def with_permuted_neurons(network: ConvNet, seed: int) -> ConvNet:
    """Copy a network whose last convolution's channels stand in an order drawn from `seed`.

    It computes the same function: the head's columns are permuted with them.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(network.channels[-1], generator=generator)
    copied = make_network(network.in_channels, network.channels, network.head.out_features, 0)
    weights = dict(network.state_dict())
    for name in ("block3.0.weight", "block3.0.bias"):
        weights[name] = weights[name][order]
    weights[f"{HEAD}.weight"] = weights[f"{HEAD}.weight"][:, order]
    copied.load_state_dict(weights)
    return copied
