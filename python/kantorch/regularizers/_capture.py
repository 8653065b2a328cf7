"""Forward hooks that keep the last output of chosen layers until it is asked for."""

from __future__ import annotations

import difflib
import weakref
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle


class LayerCapture:
    """Keeps the last output of each of `layers`, by name, from the network's own forward pass.

    The hooks know nothing of their capture, so that it can be dropped, and take themselves off the
    network when it is. Copied or pickled together with the network, a capture watches the copy; a
    network copied alone takes hooks along that keep nothing. Copies hold no activations, whose graph
    cannot be copied.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], owner: str) -> None:
        self.layers = tuple(layers)
        self.owner = owner
        modules = [_layer(network, name, owner) for name in self.layers]
        self._hooks = [_Hook() for _ in modules]
        self._handles: list[RemovableHandle] = [
            module.register_forward_hook(hook)
            for module, hook in zip(modules, self._hooks, strict=True)
        ]
        self._watch()

    def _watch(self) -> None:
        for hook in self._hooks:
            hook.watched = True
        weakref.finalize(self, _remove, list(self._handles)).atexit = False

    def take(self, *, graph: bool = False) -> dict[str, Tensor]:
        """Hand over the captured outputs, so that none can be used twice.

        With `graph`, outputs computed where gradients were off are refused.
        """
        if not self._handles:
            msg = f"the hooks on the {self.owner} were removed by close()"
            raise RuntimeError(msg)
        catches = [hook.catch for hook in self._hooks]
        self._forget()
        taken: dict[str, Tensor] = {}
        for name, catch in zip(self.layers, catches, strict=True):
            if catch is None:
                msg = (
                    f"no activation of {self.owner} layer {name!r} was captured since the last "
                    f"call: run the {self.owner} on the batch before the regularizer"
                )
                raise RuntimeError(msg)
            output, grad_enabled = catch
            if not isinstance(output, torch.Tensor) or output.is_nested:
                nested = isinstance(output, torch.Tensor)
                kind = "a nested tensor" if nested else type(output).__name__
                msg = f"{self.owner} layer {name!r} must return a tensor, got {kind}"
                raise TypeError(msg)
            if graph and not grad_enabled:
                msg = (
                    f"{self.owner} layer {name!r} ran without gradients (no_grad, inference_mode "
                    "or a reentrant checkpoint), so the penalty could not train it: run it with "
                    "gradients, or call the regularizer under no_grad too"
                )
                raise RuntimeError(msg)
            taken[name] = output
        return taken

    def close(self) -> None:
        """Remove the hooks and forget the activations."""
        _remove(self._handles)
        self._handles = []
        self._forget()

    def _forget(self) -> None:
        for hook in self._hooks:
            hook.catch = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._watch()


class _Hook:
    """A forward hook that, while it is watched, keeps what its layer last returned.

    The catch is that output, and whether gradients were on.
    """

    def __init__(self) -> None:
        self.watched = False
        self.catch: tuple[object, bool] | None = None

    def __call__(self, module: nn.Module, args: object, output: object) -> None:
        if self.watched:
            # A copy, as the next layer may work in place.
            kept = output.clone() if isinstance(output, torch.Tensor) else output
            self.catch = kept, torch.is_grad_enabled()

    @property
    def __name__(self) -> str:
        # torch.jit.script asks for it, in order to compile what it names.
        msg = (
            "a network cannot be scripted while a regularizer watches it: call the regularizer's "
            "close() first"
        )
        raise AttributeError(msg)

    def __getstate__(self) -> dict[str, Any]:
        return {"watched": False, "catch": None}


def _remove(handles: Sequence[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()


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
