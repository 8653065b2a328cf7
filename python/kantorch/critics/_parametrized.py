"""Layers with parametrizations that can be pickled."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

Layer = TypeVar("Layer", bound=nn.Module)


def picklable(layer: Layer) -> Layer:
    """Let a layer whose `weight` is parametrized be pickled, which torch refuses."""
    # A parametrization gives each layer a class of its own.
    type(layer).__reduce_ex__ = _reduced  # type: ignore[assignment]
    return layer


def _reduced(layer: nn.Module, protocol: int) -> tuple[Any, ...]:
    return _restored, (parametrize.type_before_parametrizations(layer), vars(layer))


def _restored(kind: type[nn.Module], state: dict[str, Any]) -> nn.Module:
    layer = kind.__new__(kind)
    nn.Module.__init__(layer)
    # Any parametrization makes `weight` what the state's own give.
    layer.register_parameter("weight", nn.Parameter(torch.zeros(1)))
    parametrize.register_parametrization(layer, "weight", nn.Identity())
    vars(layer).update(state)
    return picklable(layer)
