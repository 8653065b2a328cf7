"""Results leave functions under `torch.vmap` as pytrees."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar

from torch.utils import _pytree

from kantorch._result.base import OTResult
from kantorch._result.inputs import keep

Result = TypeVar("Result", bound=OTResult)


def pytree_node(cls: type[Result]) -> type[Result]:
    """Make a result a pytree node, so that functions under vmap can return it."""
    names = [field.name for field in dataclasses.fields(cls) if field.name != "_versions"]

    def flatten(result: OTResult) -> tuple[list[Any], None]:
        return [getattr(result, name) for name in names], None

    def unflatten(tensors: Iterable[Any], _: None) -> OTResult:
        fields = dict(zip(names, tensors, strict=True))
        kept = keep(fields["_cost"], fields["_a"], fields["_b"])
        return cls(**fields | dict(zip(("_cost", "_a", "_b", "_versions"), kept, strict=True)))

    _pytree.register_pytree_node(cls, flatten, unflatten)
    return cls
