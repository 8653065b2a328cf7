"""What the tensors of an op must have in common, for the kernels read memory by it.

`solve` makes them so. A trace that is run on another dtype, and a call of `torch.ops.kantorch`, need not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

# The dimensions of a single problem's tensor by its name and their number; a batch may come before them.
_DIMENSIONS = {
    ("cost", 2): "nm",
    ("x", 2): "nd",
    ("y", 2): "md",
    **{(name, 1): "n" for name in ("a", "f", "f_init", "x")},
    **{(name, 1): "m" for name in ("b", "g", "g_init", "y")},
    **{(name, 0): "" for name in ("reg", "beta", "eps")},
}
# In the dtype that is computed in; all others are float64.
_COMPUTED = ("cost", "x", "y", "a", "b")


def layout(
    names: Iterable[str], own_dims: Sequence[int | None], double: Sequence[str]
) -> list[tuple[str, str | None, bool]]:
    """Of each argument of an op: name, dimensions (None: no tensor) and whether it is float64.

    Args:
        names: of the arguments.
        own_dims: their numbers of dimensions, see `_define`.
        double: names of arguments that are float64 here and not elsewhere.
    """
    return [
        (
            name,
            None if own is None else _DIMENSIONS[name, own],
            name in double or name not in _COMPUTED,
        )
        for name, own in zip(names, own_dims, strict=True)
    ]


def require_layout(
    op: str, expected: list[tuple[str, str | None, bool]], args: Sequence[Any]
) -> None:
    """Raise if tensors differ in dtype, sizes or batch where they must not.

    Raises:
        TypeError: a dtype.
        ValueError: a shape.
    """
    sizes: dict[str, tuple[int, str]] = {}
    computed: tuple[torch.dtype, str] | None = None
    for (name, dimensions, double), tensor in zip(expected, args, strict=True):
        if dimensions is None or not isinstance(tensor, Tensor):
            continue
        if double:
            if tensor.dtype != torch.float64:
                msg = f"kantorch::{op}: {name} must be float64, got {tensor.dtype}"
                raise TypeError(msg)
        else:
            if computed is None:
                computed = tensor.dtype, name
            if tensor.dtype != computed[0] or tensor.dtype not in (torch.float32, torch.float64):
                msg = (
                    f"kantorch::{op}: {name} must be float64 or float32 and as {computed[1]}, which is "
                    f"{computed[0]}, got {tensor.dtype}"
                )
                raise TypeError(msg)
        letters = dimensions if tensor.ndim == len(dimensions) else "B" + dimensions
        if tensor.ndim != len(letters):
            shape = ", ".join(dimensions)
            msg = f"kantorch::{op}: {name} must have shape ({shape}) or (B, {shape}), got {tuple(tensor.shape)}"
            raise ValueError(msg)
        for letter, size in zip(letters, tensor.shape, strict=True):
            known, first = sizes.setdefault(letter, (size, name))
            if size != known:
                msg = (
                    f"kantorch::{op}: {name} must agree with {first} in {letter} = {known}, got shape "
                    f"{tuple(tensor.shape)}"
                )
                raise ValueError(msg)
