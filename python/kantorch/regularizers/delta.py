"""DELTA: keep a network's feature maps near those of the source, the more so where they matter."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kantorch._check import require_names
from kantorch.regularizers._parameters import require_strength, squared_norm
from kantorch.regularizers._regularizer import Regularizer
from kantorch.regularizers.layer import Layer, as_layers, module_of, require_finite
from kantorch.regularizers.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


def channel_attention(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    layers: Sequence[str | tuple[str, str] | Layer],
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    temperature: float = 5.0,
) -> dict[str, Tensor]:
    """How much each channel of a layer matters to a task: softmax(z / temperature).

    z is by how much the loss grows when the channel is set to 0, standardised over the channels of
    its layer. The network should first be fitted to the task as far as its head goes. It runs
    C + 1 times on every batch for a layer of C channels, in evaluation mode, without gradients.

    Args:
        network: The source network with a head for the target task; its mode is restored.
        batches: Pairs of inputs and labels. A few are enough: four in the authors' code.
        layers: Names of the layers, or as for `DELTA`, of which the teacher's places are taken.
        loss: Maps outputs and labels to a scalar, a mean over the batch.
        temperature: Of the softmax, > 0.

    Returns:
        For each layer, weights (C,) that sum to 1.

    Raises:
        ValueError: If there is no batch, a layer is unknown, temperature is out of range, or a loss is
            not finite (the channel that it was computed without is named, if there is one), or a layer
            does not run.
        TypeError: If a layer returns no tensor.

    Source:
        Li, Xiong, Wang, Rao, Liu, Huan: DELTA: deep learning transfer using feature map with
        attention, ICLR 2019; the temperature is that of the authors' code.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import channel_attention
        >>> _ = torch.manual_seed(0)
        >>> network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        >>> batch = torch.randn(8, 4), torch.tensor([0, 1] * 4)
        >>> attention = channel_attention(network, [batch], layers=["0"])
        >>> round(attention["0"].sum().item(), 5)
        1.0
    """
    if not temperature > 0:
        msg = f"temperature must be > 0, got {temperature!r}"
        raise ValueError(msg)
    batches = list(batches)
    if not batches:
        msg = "batches must hold at least one batch, got none"
        raise ValueError(msg)
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            whole = sum(float(loss(network(x), y)) for x, y in batches)
            if not math.isfinite(whole):
                msg = f"loss must be finite over the batches, got {whole}"
                raise ValueError(msg)
            return {
                layer.name: torch.softmax(_standardised(growth - whole) / temperature, 0)
                for layer in as_layers(layers)
                for growth in [_losses_without(network, layer, batches, loss)]
            }
    finally:
        for module, mode in modes.items():
            module.training = mode


class DELTA(Regularizer):
    """alpha/2 sum_j sum_b sum_c C a_c ||F_bc - F0_bc||^2 / positions, plus beta/2 ||w_head||^2.

    F are the feature maps of layer j of the student, F0 those of the frozen source network on the
    same examples, C their channels, and a the attention to them. The sum goes over the batch: a
    larger batch weighs more.

    Args:
        student: The network that is trained, or a `Watch` of it with a teacher.
        teacher: The source network. None: a frozen copy of the student as it is now.
        layers: Names of the layers, pairs of names, or a `Layer` for each.
        attention: For each layer, weights (C,) as of `channel_attention`, finite and >= 0. None: 1 / C
            each.
        head: Dotted names of the modules that are new on this task. Empty: no second term.
        alpha: Strength on the feature maps, finite and >= 0.
        beta: Strength on the head, finite and >= 0.

    Returns:
        From a call with what the student was called with, a scalar tensor.

    Raises:
        ValueError: If a layer or a module of the head is unknown, `layers` or `head` is a string, a
            strength or a weight is out of range, or the attention lacks a layer; from a call, if feature maps or attention disagree in shape
            (both are named), or an activation is not finite (network and layer are named).
        RuntimeError: From a call, if the student has not run since the last one, or ran without
            gradients.
        TypeError: From a call, if a layer returns no tensor.

    Source:
        Li, Xiong, Wang, Rao, Liu, Huan: DELTA, ICLR 2019; alpha = beta = 0.01 are its settings.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import DELTA
        >>> student = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        >>> penalty = DELTA(student, layers=["0"])
        >>> x = torch.randn(8, 4)
        >>> _ = student(x)
        >>> penalty(x).item()
        0.0
    """

    def __init__(
        self,
        student: nn.Module | Watch,
        teacher: nn.Module | None = None,
        *,
        layers: Sequence[str | tuple[str, str] | Layer],
        attention: Mapping[str, Tensor] | None = None,
        head: Sequence[str] = (),
        alpha: float = 0.01,
        beta: float = 0.01,
    ) -> None:
        super().__init__(alpha)
        require_strength("beta", beta)
        self.beta = beta
        self.head = require_names("head", head)
        self.layers = as_layers(layers)
        for place, layer in enumerate(self.layers):
            if attention is not None and layer.name not in attention:
                msg = f"attention must hold a weight for each channel of layer {layer.name!r}"
                raise ValueError(msg)
            given = None if attention is None else attention[layer.name].detach().clone()
            if given is not None:
                _require_weights(layer.name, given)
            self.register_buffer(f"attention{place}", given)
        self.watch = Watch.of(student, teacher, copied=True)
        known = dict(self.watch.student.named_modules())
        for name in self.head:
            if name not in known:
                msg = f"head must name modules of the student, got {name!r}"
                raise ValueError(msg)
        self._reader = self.watch.reader(self.layers, teacher=True)

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Return the penalty on the feature maps of the student's last forward pass."""
        pairs = self.watch.take(self._reader, self.layers, inputs, named, teacher=True)
        parts: dict[str, Tensor] = {}
        for place, (layer, (maps, references)) in enumerate(zip(self.layers, pairs, strict=True)):
            assert references is not None
            attention = getattr(self, f"attention{place}")
            distance = self._distance(layer, attention, maps, references)
            if not distance.isfinite():
                require_finite("student", layer.name, maps)
                require_finite("teacher", layer.teacher_name, references)
            parts[layer.name] = distance * (layer.weight / 2)
        penalty = self._total(parts)
        modules = dict(self.watch.student.named_modules())
        # Each parameter once, wherever modules of the head lie in or share with each other.
        weights = {id(p): p for name in self.head for p in modules[name].parameters()}
        trained = [p for p in weights.values() if p.requires_grad]
        if not trained:
            return penalty
        of_head = squared_norm(trained) * (self.beta / 2)
        self._terms["head weights" if "head" in self._terms else "head"] = of_head.detach()
        return penalty + of_head

    @property
    def terms(self) -> dict[str, Tensor]:
        """What each layer and the "head" added to the last call's value, detached.

        Where a layer is called "head", its weights are "head weights".
        """
        return super().terms

    def _distance(
        self, layer: Layer, attention: Tensor | None, features: Tensor, reference: Tensor
    ) -> Tensor:
        channel_dim = layer.channels(features)
        if features.shape != reference.shape or features.ndim < 2:
            msg = (
                f"student and teacher must have feature maps (n, C, ...) of one shape: layer "
                f"{layer.name!r} has {tuple(features.shape)} and {tuple(reference.shape)}"
            )
            raise ValueError(msg)
        features, reference = (x.movedim(channel_dim, 1) for x in (features, reference))
        channels, positions = features.shape[1], features[0, 0].numel()
        with torch.autocast(device_type=features.device.type, enabled=False):
            dtype = torch.promote_types(features.dtype, torch.float32)
            difference = features.to(dtype) - reference.to(dtype)
            squares = (
                (difference * difference.conj()).real
                if difference.is_complex()
                else difference.square()
            )
            by_channel = squares.reshape(-1, channels, positions).sum((0, 2))
        if attention is None:
            return by_channel.sum() / positions
        if attention.shape != (channels,):
            msg = (
                f"attention must have a weight for each channel: layer {layer.name!r} has {channels} "
                f"channels, and its attention the shape {tuple(attention.shape)}"
            )
            raise ValueError(msg)
        return (attention.to(by_channel) * channels * by_channel).sum() / positions

    def extra_repr(self) -> str:
        """Show the layers and the strengths."""
        return (
            f"layers={[layer.name for layer in self.layers]}, alpha={self.alpha}, beta={self.beta}"
        )


def _losses_without(
    network: nn.Module,
    layer: Layer,
    batches: Sequence[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The loss over all batches without each of the channels of a layer, in turn."""
    seen: list[int] = []
    silenced = -1

    def silence(value: Any) -> Any:
        features = layer.activations(value, "network", layer.teacher_name)
        channel_dim = layer.channels(features)
        seen.append(features.shape[channel_dim])
        if silenced < 0:
            return value
        without = features.clone()
        without.select(channel_dim, silenced).zero_()
        return _replaced(value, features, without)

    def silence_input(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if args:
            return (silence(args[0]), *args[1:]), named
        first = next(iter(named), None)
        if first is None:
            return None
        return args, named | {first: silence(named[first])}

    module = module_of(network, layer.teacher_name, "network")
    if layer.of == "input":
        handle = module.register_forward_pre_hook(silence_input, with_kwargs=True)
    else:
        handle = module.register_forward_hook(lambda _, args, output: silence(output))
    try:
        network(batches[0][0])
        if not seen:
            msg = f"layers must name modules that run, but {layer.teacher_name!r} did not on the first batch"
            raise ValueError(msg)
        losses = []
        for silenced in range(seen[0]):  # noqa: B007 - the hook reads it
            losses.append(sum(float(loss(network(x), y)) for x, y in batches))
    finally:
        handle.remove()
    for channel, value in enumerate(losses):
        if not math.isfinite(value):
            msg = f"loss must be finite: without channel {channel} of layer {layer.name!r} it is {value}"
            raise ValueError(msg)
    return torch.tensor(losses, dtype=torch.float64, device="cpu")


def _replaced(value: Any, part: Tensor, other: Tensor) -> Any:
    """What a module takes or returns with another tensor in place of one of its parts."""
    if value is part:
        return other
    if isinstance(value, dict):
        changed = copy.copy(value)
        for key, member in value.items():
            if member is part:
                changed[key] = other
        return changed
    members = [other if member is part else member for member in value]
    return type(value)(*members) if hasattr(value, "_fields") else type(value)(members)


def _require_weights(layer: str, weights: Tensor) -> None:
    bad = (~(weights.isfinite() & (weights >= 0))).nonzero()
    if len(bad):
        index = tuple(bad[0].tolist())
        msg = (
            f"attention of layer {layer!r} must be finite and >= 0: "
            f"[{', '.join(map(str, index))}] is {weights[index].item()}"
        )
        raise ValueError(msg)


def _standardised(values: Tensor) -> Tensor:
    spread = values.std(correction=0)
    centred = values - values.mean()
    return (centred / spread if spread > 0 else torch.zeros_like(values)).float()
