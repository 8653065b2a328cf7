"""Forward hooks that keep the last output of chosen layers until it is asked for."""

from __future__ import annotations

import difflib
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


class LayerCapture:
    """Keeps the last output of each of `layers`, by name, from the network's own forward pass.

    A network that is copied or pickled takes the hooks along, but no activations: those belong to
    a graph that cannot be copied.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], owner: str) -> None:
        self.layers = tuple(layers)
        self.owner = owner
        self._outputs: dict[str, object] = {}
        modules = [_layer(network, name, owner) for name in self.layers]
        self._handles = [
            module.register_forward_hook(partial(self._keep, name))
            for name, module in zip(self.layers, modules, strict=True)
        ]

    def _keep(self, name: str, module: nn.Module, args: object, output: object) -> None:
        self._outputs[name] = output

    def take(self) -> dict[str, Tensor]:
        """Hand over the captured outputs, so that none can be used twice."""
        outputs, self._outputs = self._outputs, {}
        if not self._handles:
            msg = f"the hooks on the {self.owner} were removed by close()"
            raise RuntimeError(msg)
        taken: dict[str, Tensor] = {}
        for name in self.layers:
            if name not in outputs:
                msg = (
                    f"no activation of {self.owner} layer {name!r} was captured since the last "
                    f"call: run the {self.owner} on the batch before the regularizer"
                )
                raise RuntimeError(msg)
            output = outputs[name]
            if not isinstance(output, torch.Tensor):
                msg = (
                    f"{self.owner} layer {name!r} must return a tensor, got {type(output).__name__}"
                )
                raise TypeError(msg)
            taken[name] = output
        return taken

    def close(self) -> None:
        """Remove the hooks and forget the activations."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._outputs = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_outputs": {}}


def _layer(network: nn.Module, name: str, owner: str) -> nn.Module:
    known: dict[str, nn.Module] = dict(network.named_modules())
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, list(known), n=3) or [key for key in known if key]
    msg = (
        f"layers must name modules of the {owner}, got {name!r}; "
        f"near it: {', '.join(map(repr, near[:8]))}"
    )
    raise ValueError(msg)
