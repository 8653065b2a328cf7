"""Networks by the names that settings give them: this package's, torchvision's, timm's, or one's own."""

from __future__ import annotations

import copy
import difflib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from kantorch.models import MODELS, make_model
from kantorch.training.errors import ConfigError
from kantorch.training.files import system_path
from kantorch.training.model import ConvNet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

CONVNET = "convnet"
TORCHVISION, TIMM, FILE = "torchvision:", "timm:", ".py:"
INSTALL = 'pip install "kantorch[vision]"'


@dataclass(frozen=True)
class Backbone:
    """A kind of network.

    Attributes:
        name: "convnet", one of `kantorch.models.MODELS`, torchvision:NAME, timm:NAME, or
            FILE.py:FUNCTION, whose function is called with `classes` and `in_channels`.
        channels: Widths of "convnet".
        given_head: The linear module that gives the outputs. None: the last linear module.
    """

    name: str = CONVNET
    channels: Sequence[int] = ()
    given_head: str | None = None

    def make(self, in_channels: int, classes: int, seed: int) -> nn.Module:
        """Make a network with weights drawn from `seed`, without touching the global generator.

        Raises:
            ConfigError: If there is no such network, or its package is not installed.
        """
        build = self._builder(in_channels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build(classes)
        if not isinstance(network, nn.Module):
            msg = f"backbone {self.name} must make a torch.nn.Module, got {type(network).__name__}"
            raise ConfigError(msg)
        return network

    def check(self, in_channels: int) -> None:
        """Refuse a name that there is no network for, without making one."""
        self._builder(in_channels)

    def _builder(self, in_channels: int) -> Callable[[int], Any]:
        name = self.name
        if name == CONVNET:
            return lambda classes: ConvNet(in_channels, self.channels, classes)
        if name in MODELS:
            return lambda classes: make_model(name, classes=classes, in_channels=in_channels)
        if name.startswith(TORCHVISION):
            return _torchvision(name.removeprefix(TORCHVISION), in_channels)
        if name.startswith(TIMM):
            return _timm(name.removeprefix(TIMM), in_channels)
        if FILE in name:
            return _own(name, in_channels)
        known = ", ".join([CONVNET, *MODELS])
        msg = f"backbone must be {known}, torchvision:NAME, timm:NAME or FILE.py:FUNCTION, got {name!r}"
        raise ConfigError(msg)

    def file(self) -> str | None:
        """The file that holds it, if it is one's own."""
        path, mark, _ = self.name.rpartition(FILE)
        return f"{path}.py" if mark else None

    def head(self, network: nn.Module) -> str:
        """The name of the linear module that gives the outputs.

        Raises:
            ConfigError: If there is none.
        """
        linear = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)]
        if self.given_head is None and linear:
            return str(linear[-1])
        if self.given_head in linear:
            return str(self.given_head)
        shown = ", ".join(linear[-5:]) or "there are none"
        msg = f"head must name a linear module of {self.name} ({shown}), got {self.given_head!r}"
        raise ConfigError(msg)

    def told(self) -> str:
        """What it is, in words."""
        if self.name == CONVNET:
            return f"network with convolutions of widths {list(self.channels)}"
        return f"network {self.name}"


def with_new_head(
    backbone: Backbone, source: nn.Module, in_channels: int, classes: int, seed: int
) -> nn.Module:
    """Copy a network, with a head for another task that is drawn from `seed`."""
    network = backbone.make(in_channels, classes, seed)
    head = backbone.head(network)
    trunk = {k: v for k, v in source.state_dict().items() if not k.startswith(f"{head}.")}
    network.load_state_dict(trunk, strict=False)
    return network


def with_outputs(network: nn.Module, head: str, rows: Sequence[int]) -> nn.Module:
    """Copy a network, with these of its outputs alone and in this order."""
    copied = copy.deepcopy(network)
    parent, _, name = head.rpartition(".")
    old: Any = copied.get_submodule(head)
    new = nn.Linear(old.in_features, len(rows), bias=old.bias is not None)
    new.load_state_dict({key: value[list(rows)] for key, value in old.state_dict().items()})
    setattr(copied.get_submodule(parent), name, new)
    return copied


def with_fitted_head(
    network: nn.Module,
    head: str,
    outputs: int,
    batches: Sequence[tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    decay: float = 1e-3,
) -> nn.Module:
    """Copy a network, with a head that minimises loss + decay/2 ||weights||^2 on its own features."""
    copied = with_outputs(network, head, [0] * outputs).eval()
    with torch.no_grad():
        features = torch.cat([with_head_input(copied, head, images)[0] for images, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    linear = copied.get_submodule(head).requires_grad_()
    assert isinstance(linear, nn.Linear)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total: Tensor = loss(linear(features), labels) + decay / 2 * linear.weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return copied


def with_head_input(network: nn.Module, head: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features that the head sees, and the outputs."""
    seen: list[Tensor] = []
    hook = network.get_submodule(head).register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    try:
        outputs: Tensor = network(images)
    finally:
        hook.remove()
    return seen[0], outputs


def _torchvision(name: str, in_channels: int) -> Callable[[int], Any]:
    try:
        from torchvision import models
    except ModuleNotFoundError as error:
        raise _missing(TORCHVISION, name, error) from error
    _require_known(f"torchvision:{name}", name, models.list_models())
    if in_channels != 3:
        msg = f"backbone torchvision:{name} is for images with 3 channels, got {in_channels}"
        raise ConfigError(msg)
    return lambda classes: models.get_model(name, weights=None, num_classes=classes)


def _timm(name: str, in_channels: int) -> Callable[[int], Any]:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise _missing(TIMM, name, error) from error
    _require_known(f"timm:{name}", name.partition(".")[0], timm.list_models())
    return lambda classes: timm.create_model(
        name, pretrained=False, num_classes=classes, in_chans=in_channels
    )


def _missing(package: str, name: str, error: ModuleNotFoundError) -> ConfigError:
    return ConfigError(
        f"backbone {package}{name} needs {error.name}, which is not installed: {INSTALL}"
    )


def _require_known(backbone: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known, n=3)) or f"{len(known)} others"
        msg = f"backbone {backbone!r} is not known to its package; near it: {near}"
        raise ConfigError(msg)


def _own(name: str, in_channels: int) -> Callable[[int], Any]:
    path, _, function = name.rpartition(":")
    spec = importlib.util.spec_from_file_location("own_backbone", system_path(path))
    try:
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        make = getattr(module, function)
    except Exception as error:  # whatever the user's own code raises
        msg = f"cannot load the backbone {name}: {type(error).__name__}: {error}"
        raise ConfigError(msg) from error
    return lambda classes: make(classes=classes, in_channels=in_channels)
