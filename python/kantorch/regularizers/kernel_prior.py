"""What the filters of trained networks look like: a sample of each layer's kernels."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from kantorch._check import require_choice, require_finite, require_names

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

Kernel = Literal["slice", "filter"]

_FORMAT = 1


def kernels(weight: Tensor, kernel: Kernel = "slice") -> Tensor:
    """The kernels of a convolution as points, one in a row.

    Args:
        weight: (outputs, inputs, *size), as of `nn.Conv2d`, or (outputs, inputs) of `nn.Linear`.
        kernel: "slice": what joins one input with one output, of prod(size) coordinates. "filter":
            what makes one output, of inputs * prod(size) coordinates.

    Returns:
        (outputs * inputs, prod(size)) or (outputs, inputs * prod(size)), a view where it can be.

    Raises:
        ValueError: If `weight` has fewer than two dimensions, or `kernel` is unknown.

    >>> import torch
    >>> kernels(torch.zeros(8, 3, 5, 5)).shape
    torch.Size([24, 25])
    >>> kernels(torch.zeros(8, 3, 5, 5), "filter").shape
    torch.Size([8, 75])
    """
    require_choice("kernel", kernel, get_args(Kernel))
    if weight.ndim < 2:
        msg = f"weight must have shape (outputs, inputs, *size), got {tuple(weight.shape)}"
        raise ValueError(msg)
    if kernel == "filter":
        return weight.flatten(1)
    return weight.reshape(weight.shape[0] * weight.shape[1], -1)


class KernelPrior:
    """The kernels of each layer, pooled over several trained networks.

    It is all that the target task needs of the source: neither the source's data nor its networks
    are kept.

    Args:
        samples: For each layer, its kernels (N, coordinates), one in a row.
        kernel: What a kernel is, see `kernels`.

    Raises:
        ValueError: If there is no layer, or one is empty, not a matrix or not finite; the layer is
            named.

    Source:
        Section 3.1 of the thesis on adversarial transfer, definition 3.1 (source kernel
        distribution).

    Example:
        >>> import torch
        >>> from kantorch.regularizers import KernelPrior
        >>> networks = [torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3)) for _ in range(5)]
        >>> KernelPrior.from_models(networks)
        KernelPrior(kernel='slice', layers={'0': (20, 9)})
    """

    def __init__(self, samples: Mapping[str, Tensor], *, kernel: Kernel = "slice") -> None:
        require_choice("kernel", kernel, get_args(Kernel))
        if not samples:
            msg = "samples must hold at least one layer, got none"
            raise ValueError(msg)
        for name, points in samples.items():
            if points.ndim != 2 or points.numel() == 0:
                msg = (
                    f"samples[{name!r}] must have shape (N, coordinates) and not be empty, got "
                    f"{tuple(points.shape)}"
                )
                raise ValueError(msg)
            require_finite(f"samples[{name!r}]", points)
        self.samples = {name: points.detach().clone() for name, points in samples.items()}
        self.kernel: Kernel = kernel

    @classmethod
    def from_models(
        cls,
        models: Iterable[nn.Module],
        *,
        layers: Sequence[str] | None = None,
        kernel: Kernel = "slice",
    ) -> KernelPrior:
        """Pool the kernels of networks of the same architecture, trained from different starts.

        Args:
            models: The networks, at least one.
            layers: Names of the layers. None: all convolutions.
            kernel: See `kernels`.

        Raises:
            ValueError: If there is no network, `layers` is a string, a layer is missing or has no
                kernels, or its shape differs between networks; network and layer are named.
        """
        named = None if layers is None else require_names("layers", layers)
        pooled: dict[str, list[Tensor]] = {}
        shapes: dict[str, torch.Size] = {}
        for index, model in enumerate(models):
            if named is None:
                named = tuple(convolutions(model))
            for name in named:
                weight = weight_of(model, name, f"models[{index}]").detach().cpu()
                if shapes.setdefault(name, weight.shape) != weight.shape:
                    msg = (
                        f"models must agree in the shape of {name!r}: it is {tuple(weight.shape)} "
                        f"in models[{index}] and {tuple(shapes[name])} in models[0]"
                    )
                    raise ValueError(msg)
                pooled.setdefault(name, []).append(kernels(weight, kernel))
        if not pooled:
            msg = "models must hold at least one network with a layer that has kernels"
            raise ValueError(msg)
        return cls({name: torch.cat(parts) for name, parts in pooled.items()}, kernel=kernel)

    def save(self, path: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write the prior to a file, by its name or open."""
        torch.save({"format": _FORMAT, "kernel": self.kernel, "samples": self.samples}, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KernelPrior:
        """Read a file that `save` wrote; no code in it is run.

        Raises:
            ValueError: If the file is damaged or holds something else; it is named.
            OSError: If it cannot be read.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["format"] != _FORMAT:
                msg = f"its format is {state['format']!r}"
                raise ValueError(msg)
            return cls(state["samples"], kernel=state["kernel"])
        except OSError:
            raise
        except Exception as error:  # whatever a damaged or hostile file makes torch raise
            msg = f"path must name a file that KernelPrior.save wrote, got {str(path)!r}"
            raise ValueError(msg) from error

    def __repr__(self) -> str:
        """Show the kernels of each layer by number and coordinates."""
        layers = {name: tuple(points.shape) for name, points in self.samples.items()}
        return f"KernelPrior(kernel={self.kernel!r}, layers={layers})"


def convolutions(model: nn.Module) -> list[str]:
    """Names of all convolutions of a network, transposed ones included, in its order."""
    layers = nn.modules.conv._ConvNd
    return [name for name, module in model.named_modules() if isinstance(module, layers)]


def weight_of(model: nn.Module, layer: str, owner: str) -> Tensor:
    """The weight whose kernels a layer applies now, (outputs, inputs, *size)."""
    # Not get_submodule, which finds a module's method where a layer has its name.
    module = dict(model.named_modules(remove_duplicate=False)).get(layer)
    if module is None:
        msg = f"layers must name modules of {owner}, got {layer!r}"
        raise ValueError(msg)
    weight = _recomputed(module, "weight")
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        msg = (
            f"layers must name modules with a weight of two dimensions or more, got {layer!r} of "
            f"{owner}, {type(module).__name__}"
        )
        raise ValueError(msg)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        # (inputs, outputs of a group, *size)
        parts = weight.reshape(module.groups, -1, *weight.shape[1:])
        return parts.transpose(1, 2).flatten(0, 1)
    return weight


def _recomputed(module: nn.Module, name: str) -> object:
    """An attribute of a module, where older tools of torch set it anew before each forward pass: as the next will see it."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, prune.BasePruningMethod) and hook._tensor_name == name:
            return hook.apply_mask(module)  # type: ignore[no-untyped-call]
        if isinstance(hook, WeightNorm) and hook.name == name:
            return hook.compute_weight(module)
        if isinstance(hook, SpectralNorm) and hook.name == name:
            return hook.compute_weight(module, do_power_iteration=False)
    return getattr(module, name, None)
