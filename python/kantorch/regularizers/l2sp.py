"""Weight decay towards the starting point of fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kantorch._check import require_names
from kantorch.regularizers._parameters import require_strength, squared_norm, trainable
from kantorch.regularizers._regularizer import Regularizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class L2SP(Regularizer):
    """Squared distance to the starting point: alpha/2 ||w_enc - w0||^2 + beta/2 ||w_head||^2.

    The encoder is every parameter outside `head` that is trainable when the penalty is computed, so
    layers may be frozen and released during training. The starting point is copied when the
    regularizer is made; it moves with `.to` and stands in the state_dict, below `start`, so that a
    resumed run compares with the point it left from. A copy of the regularizer watches a copy of
    the network: copy both together, as `copy.deepcopy` of a module that owns both does.

    Args:
        model: The network that is trained. It is watched, not owned: it is no submodule.
        reference: The starting point: a network, or a state dict; it needs no entry for the head
            or for what is frozen. None: `model` as it is now.
        head: Dotted names of the modules that are new on this task, such as ("fc",); they are
            drawn to zero. An empty sequence: there is no head.
        alpha: Strength on the encoder, finite and >= 0.
        beta: Strength on the head, finite and >= 0.

    Returns:
        From a call, a scalar tensor. Inputs of the call are ignored.

    Raises:
        ValueError: If a strength is out of range, `head` is a string or names no module, or the reference lacks a
            parameter of the encoder or holds it in another shape (both shapes are named). From a
            call: if the model's parameters have other names or shapes than at the start, as after
            weight normalisation or with another layer in place, or are sharded (FSDP).

    Source:
        Li, Grandvalet, Davoine: Explicit inductive bias for transfer learning with convolutional
        networks, ICML 2018, eq. 2 (L2-SP).

    Example:
        >>> import torch
        >>> from kantorch.regularizers import L2SP
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        >>> regularizer = L2SP(model, head=("1",), alpha=0.1, beta=0.0)
        >>> regularizer().item()
        0.0
    """

    def __init__(
        self,
        model: nn.Module,
        reference: nn.Module | Mapping[str, Tensor] | None = None,
        *,
        head: Sequence[str],
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> None:
        super().__init__(alpha)
        require_strength("beta", beta)
        self.beta = beta
        self.head = require_names("head", head)
        self._model = (model,)  # a tuple hides it from nn.Module
        trainable(model)  # refuses a network without any
        modules = dict(model.named_modules())
        for name in self.head:
            if name not in modules:
                msg = f"head must name modules of the model, got {name!r}"
                raise ValueError(msg)
        start = _state(model if reference is None else reference)
        self.start = nn.Module()
        for name, parameter in model.named_parameters():
            if self._in_head(name) or (name not in start and not parameter.requires_grad):
                continue
            if name not in start:
                msg = f"reference must hold the encoder's parameter {name!r}; is it of the head?"
                raise ValueError(msg)
            if start[name].shape != parameter.shape:
                msg = (
                    f"reference must have the model's shapes: {name!r} is "
                    f"{tuple(start[name].shape)} there and {tuple(parameter.shape)} in the model"
                )
                raise ValueError(msg)
            _set_buffer(self.start, name, start[name].detach().clone().to(parameter.device))

    def _in_head(self, parameter: str) -> bool:
        return any(not name or parameter.startswith(f"{name}.") for name in self.head)

    def encoder_term(self) -> Tensor:
        """Return ||w_enc - w0||^2, zero at the start."""
        parameters = dict(self._model[0].named_parameters())
        start = dict(self.start.named_buffers())
        for name in start:
            if name not in parameters:
                msg = (
                    f"model must keep the parameters that it started with, but {name!r} is gone; "
                    "make the regularizer after the last change of layers"
                )
                raise ValueError(msg)
        encoder = {
            name: p for name, p in parameters.items() if p.requires_grad and not self._in_head(name)
        }
        for name, parameter in encoder.items():
            _require_comparable(name, parameter, start.get(name))
        if not encoder:
            return next(iter(parameters.values())).new_zeros(())
        return squared_norm([p - start[name] for name, p in encoder.items()])

    def head_term(self) -> Tensor:
        """Return ||w_head||^2."""
        parameters = trainable(self._model[0])
        weights = [value for name, value in parameters.items() if self._in_head(name)]
        return squared_norm(weights) if weights else torch.zeros((), device="cpu")

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Return alpha/2 ||w_enc - w0||^2 + beta/2 ||w_head||^2 for the present parameters."""
        encoder, head = self.encoder_term() * (self.alpha / 2), self.head_term() * (self.beta / 2)
        self._terms = {"encoder": encoder.detach(), "head": head.detach()}
        return encoder + head

    def extra_repr(self) -> str:
        """Show the strengths and the head."""
        return f"head={self.head}, alpha={self.alpha}, beta={self.beta}"


def _set_buffer(module: nn.Module, name: str, value: Tensor) -> None:
    """Register a buffer under a dotted name, in modules that are made on the way."""
    *path, leaf = name.split(".")
    # Not by add_module and register_buffer, which refuse the names of a module's own attributes; a
    # network that sets a layer as its `type` or `half` has such names.
    for part in path:
        found = module._modules.get(part)
        if found is None:
            found = module._modules[part] = nn.Module()
        module = found
    module._buffers[leaf] = value


def _require_comparable(name: str, parameter: Tensor, start: Tensor | None) -> None:
    if start is None:
        msg = (
            f"model must have a starting point for each parameter of the encoder, but {name!r} has "
            "none; is it of the head, or was a layer put in place later?"
        )
        raise ValueError(msg)
    if parameter.shape != start.shape:
        msg = (
            f"model must keep the shapes that it started with: {name!r} is "
            f"{tuple(parameter.shape)} and was {tuple(start.shape)}"
        )
        raise ValueError(msg)
    if hasattr(parameter, "device_mesh"):  # a DTensor
        msg = (
            f"model must hold its parameters whole, but {name!r} is sharded; L2SP works under "
            "DistributedDataParallel, not under FSDP"
        )
        raise ValueError(msg)


def _state(reference: nn.Module | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if isinstance(reference, nn.Module):
        return dict(reference.named_parameters())
    return reference
