"""Networks by the names that papers and command lines call them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kantorch._check import require_choice
from kantorch.models.cifar_resnet import CifarResNet
from kantorch.models.wide_resnet import WideResNet

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet56": partial(CifarResNet, 56),
    "resnet56-slim": partial(CifarResNet, 56, slim=2),
    "resnet1001": partial(CifarResNet, 1001),
    "wrn-28-10": partial(WideResNet, 28, 10),
}


def make_model(name: str, *, classes: int, in_channels: int = 3) -> nn.Module:
    """Make a network by its name, with weights from torch's generator.

    Args:
        name: One of `MODELS`.
        classes: Outputs of the head.
        in_channels: Channels of the images.

    Raises:
        ValueError: If the name is unknown or a number is < 1.

    Example:
        >>> from kantorch.models import make_model
        >>> make_model("resnet56-slim", classes=10).head
        Linear(in_features=128, out_features=10, bias=True)
    """
    require_choice("name", name, tuple(MODELS))
    return MODELS[name](classes=classes, in_channels=in_channels)
