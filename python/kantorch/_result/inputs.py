"""What a result keeps of its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

if TYPE_CHECKING:
    from kantorch import ops


def keep(
    cost: ops.Cost, a: Tensor, b: Tensor
) -> tuple[ops.Cost, Tensor, Tensor, tuple[int, ...] | None]:
    """What a result keeps of its inputs, and the numbers of their in-place changes so far, if they are known.

    Of tensors made in inference mode torch does not count the changes: of these it keeps copies.
    """
    tensors = (*cost.tensors, a, b)
    if _are_plain(tensors) and any(tensor.is_inference() for tensor in tensors):
        return cost.map(torch.clone), a.clone(), b.clone(), None
    return cost, a, b, versions(cost, a, b)


def versions(cost: ops.Cost, a: Tensor, b: Tensor) -> tuple[int, ...] | None:
    """The numbers of in-place changes so far, where torch counts them."""
    tensors = (*cost.tensors, a, b)
    if not _are_plain(tensors) or any(tensor.is_inference() for tensor in tensors):
        return None
    return tuple([tensor._version for tensor in tensors])


def _are_plain(tensors: tuple[Any, ...]) -> bool:
    """Whether these are tensors that tell of their changes; a pytree may be filled with something else."""
    return not torch.compiler.is_compiling() and all(
        isinstance(tensor, Tensor) and not is_functorch_wrapped_tensor(tensor) for tensor in tensors
    )
