"""Collects the calls that reach this library's torch ops."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class Recorder(TorchDispatchMode):
    """Keeps the arguments of every `torch.ops.kantorch` call made while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record, then run."""
        kwargs = kwargs or {}
        if func.namespace == "kantorch":
            keep = tree_map_only(torch.Tensor, _copy, (args, kwargs))
            self.calls.append((func, *keep))
        return func(*args, **kwargs)


def _copy(t: torch.Tensor) -> torch.Tensor:
    return t.detach().clone().requires_grad_(t.requires_grad)


def registered_ops() -> set[str]:
    """The names of all ops of this library, `kantorch::name`."""
    names = torch._C._dispatch_get_all_op_names()
    return {name.split(".")[0] for name in names if name.startswith("kantorch::")}
