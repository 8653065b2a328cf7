"""Where in a network activations are taken, and which of their dimensions holds the neurons."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from kantorch import _check
from kantorch._check import require_choice
from kantorch.regularizers._parameters import require_strength

if TYPE_CHECKING:
    from collections.abc import Sequence

Side = Literal["output", "input"]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A place in a network whose activations a regularizer reads.

    Wherever a regularizer takes layers, a plain name stands for `Layer(name)`, and a pair of names
    for `Layer(name, teacher=other)`.

    Args:
        name: Dotted name of a module of the student, as in `named_modules()`.
        teacher: Its name in the teacher. None: the same.
        of: "output", or "input" for the module's first argument: the penultimate features of a
            network that pools in a function are the input of its head.
        item: Which part of a tuple (an index) or of a mapping (a key) the activations are. None: the
            tensor itself, or the only part.
        channel_dim: The dimension of the neurons. None: 1, as in (n, d) and (n, d, *space); three
            dimensions are refused then, as they are tokens (n, length, d) in some networks and
            (n, d, length) in others. Channels-last maps need -1.
        weight: A factor of this layer, finite and >= 0.

    Raises:
        ValueError: If an argument is out of range.

    >>> Layer("head", of="input")
    Layer(name='head', teacher=None, of='input', item=None, channel_dim=None, weight=1.0)
    """

    name: str
    teacher: str | None = None
    of: Side = "output"
    item: int | str | None = None
    channel_dim: int | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the side and the weight."""
        require_choice("of", self.of, get_args(Side))
        require_strength("weight", self.weight)

    @property
    def teacher_name(self) -> str:
        """The name in the teacher."""
        return self.name if self.teacher is None else self.teacher

    def activations(self, value: object, owner: str, name: str) -> Tensor:
        """The tensor in what a module of `owner` took or returned."""
        verb = "return" if self.of == "output" else "take"
        place = f"{owner} layer {name!r}"
        if isinstance(value, (tuple, list, dict)):
            parts = len(value)
            if self.item is not None:
                try:
                    value = value[self.item]  # type: ignore[index]
                except (LookupError, TypeError):
                    keys = list(value) if isinstance(value, dict) else f"{parts} parts"
                    msg = f"item must name a part of {place}, got {self.item!r} of {keys}"
                    raise ValueError(msg) from None
            elif parts == 1:
                (value,) = value.values() if isinstance(value, dict) else value
            else:
                msg = (
                    f"{place} must {verb} a tensor, got {type(value).__name__} of {parts} parts: "
                    f"say which by Layer({self.name!r}, item=...)"
                )
                raise TypeError(msg)
        if not isinstance(value, torch.Tensor) or value.is_nested:
            nested = isinstance(value, torch.Tensor)
            kind = "a nested tensor" if nested else type(value).__name__
            if nested:  # as torch's encoder makes of a padding mask
                kind += " (nn.TransformerEncoder makes none with enable_nested_tensor=False)"
            msg = f"{place} must {verb} a tensor, got {kind}"
            raise TypeError(msg)
        if value.numel() == 0:
            msg = f"{place} must {verb} one activation or more, got the shape {tuple(value.shape)}"
            raise ValueError(msg)
        return value

    def channels(self, features: Tensor, default: int | None = None) -> int:
        """The dimension that holds the neurons of these activations; the default is for layers that do not say."""
        given = default if self.channel_dim is None else self.channel_dim
        if given is not None:
            name = f"the activations of layer {self.name!r}"
            _check.require_channel_dim(name, features.shape, given)
            return given
        if features.ndim == 3:
            msg = (
                f"channel_dim must be given for layer {self.name!r} of shape "
                f"{tuple(features.shape)}: 1 for (n, channels, length), 2 for (n, tokens, channels)"
            )
            raise ValueError(msg)
        return 1


def as_layers(layers: Sequence[str | tuple[str, str] | Layer]) -> tuple[Layer, ...]:
    """Check a sequence of layers and give each its form.

    Raises:
        ValueError: If it is empty, no sequence, or names a place of the student twice.
    """
    if isinstance(layers, (str, Layer)) or not layers:
        msg = f"layers must be a non-empty sequence of module names, got {layers!r}"
        raise ValueError(msg)
    found = []
    for layer in layers:
        if isinstance(layer, Layer):
            found.append(layer)
        elif isinstance(layer, str):
            found.append(Layer(layer))
        elif isinstance(layer, (tuple, list)) and [type(x) for x in layer] == [str, str]:
            found.append(Layer(layer[0], layer[1]))
        else:
            msg = f"layers must hold names or (student, teacher) pairs of names, got {layer!r}"
            raise ValueError(msg)
    names = [layer.name for layer in found]
    if len(set(names)) != len(names):
        msg = f"layers must name each layer of the student once, got {names}"
        raise ValueError(msg)
    return tuple(found)


def module_of(network: nn.Module, name: str, owner: str) -> nn.Module:
    """The module of that name.

    Raises:
        ValueError: If there is none; names near it are given.
    """
    known: dict[str, nn.Module] = dict(network.named_modules(remove_duplicate=False))
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, list(known), n=3) or [key for key in known if key]
    msg = (
        f"layers must name modules of the {owner}, got {name!r}; "
        f"near it: {', '.join(map(repr, near[:8]))}"
    )
    raise ValueError(msg)


def require_finite(network: str, layer: str, features: Tensor) -> None:
    """Raise ValueError with the first value of the activations that is not finite, if any."""
    _check.require_finite(f"the activations of {network} layer {layer!r}", features)
