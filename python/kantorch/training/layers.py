"""Layers as settings name them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch

from kantorch._check import require_names
from kantorch.regularizers import Layer, Watch, neurons
from kantorch.training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

INPUT = "input"


def parse_layer(text: str, teacher: str | None = None) -> Layer:
    """Read a layer: NAME, NAME:input for what a module takes, NAME:2 for its dimension of neurons.

    >>> parse_layer("head:input")
    Layer(name='head', teacher=None, of='input', item=None, channel_dim=None, weight=1.0)

    Raises:
        ConfigError: If it is none of these.
    """
    name, *marks = text.split(":")
    options: dict[str, Any] = {}
    for mark in marks:
        if mark == INPUT:
            options["of"] = INPUT
        elif mark.lstrip("-").isdigit():
            options["channel_dim"] = int(mark)
        else:
            msg = f"layers must be NAME, NAME:input or NAME:DIMENSION, got {text!r}"
            raise ConfigError(msg)
    if teacher is not None and ":" in teacher:
        msg = f"teacher_layers must be names alone, marked as the student's layers, got {teacher!r}"
        raise ConfigError(msg)
    if not name:
        msg = f"layers must name modules, got {text!r}"
        raise ConfigError(msg)
    return Layer(name, teacher=teacher, **options)


def matching(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """The layers that patterns name, in the network's order; `*` and `?` stay between two dots.

    Raises:
        ConfigError: If a pattern names no module.
    """
    known = [name for name, _ in network.named_modules() if name]
    found: dict[str, str] = {}
    for pattern in require_names("layers", patterns):
        name, *marks = pattern.split(":")
        parts = name.split(".")
        hits = [
            other
            for other in known
            if len(other.split(".")) == len(parts)
            and all(map(fnmatchcase, other.split("."), parts))
        ]
        if not hits:
            msg = f"layers must name modules of the network, got {pattern!r}"
            raise ConfigError(msg)
        found |= {hit: ":".join([hit, *marks]) for hit in hits}
    return [found[name] for name in known if name in found]


@torch.no_grad()
def widths(network: nn.Module, teacher: nn.Module, layers: Sequence[Layer], example: Tensor) -> Any:
    """How many neurons each layer has in the network and in its teacher.

    Raises:
        ConfigError: If one of them has no such layer, or gives something else than activations.
    """
    watch = Watch(network, teacher)
    modes = network.training, teacher.training
    try:
        reader = watch.reader(layers, teacher=True)
        network.eval()(example)
        pairs = watch.take(reader, layers, teacher=True)
        return [
            tuple(
                len(neurons(found, channel_dim=layer.channels(found)))
                for found in pair
                if found is not None
            )
            for layer, pair in zip(layers, pairs, strict=True)
        ]
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigError(str(error)) from error
    finally:
        watch.close()
        network.train(modes[0])
        teacher.train(modes[1])
