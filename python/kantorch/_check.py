"""Every check of an argument's type, shape, dtype and device; values are checked inside the ops."""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any, Protocol

import torch
from torch import Tensor

from kantorch import ops


class Costs(Protocol):
    """What the checks know of a cost: a tensor, or points that stand for one."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...


METHODS = ("auto", "exact", "sinkhorn", "ipot")
REG_TYPES = ("kl", "entropy")
MAX_ITER = 2**40


def require_cost(cost: Any) -> None:
    """Check the type and shape of a cost (n, m) or (B, n, m)."""
    require_floating("cost", cost)
    if cost.ndim not in (2, 3):
        msg = f"cost must have shape (n, m) or (B, n, m), got {tuple(cost.shape)}"
        raise ValueError(msg)
    if 0 in cost.shape[-2:]:
        msg = f"cost must have rows and columns, got the empty shape {tuple(cost.shape)}"
        raise ValueError(msg)


def require_floating(name: str, tensor: Any) -> None:
    """Check that an argument is a dense floating point tensor on a supported device."""
    if not isinstance(tensor, Tensor):
        msg = f"{name} must be a torch.Tensor, got {type(tensor).__name__}"
        raise TypeError(msg)
    if tensor.is_nested or tensor.layout != torch.strided:
        kind = "a nested tensor" if tensor.is_nested else f"layout {tensor.layout}"
        msg = f"{name} must be a dense tensor, got {kind}"
        raise TypeError(msg)
    if not tensor.dtype.is_floating_point or tensor.dtype.itemsize < 2:
        msg = f"{name} must be float64, float32, float16 or bfloat16, got {tensor.dtype}"
        raise TypeError(msg)
    if not (tensor.is_cpu or tensor.is_meta) and (why := ops.why_not_on(tensor.device)):
        msg = f"{name} must be on the cpu, got {tensor.device}: {why}"
        raise ValueError(msg)


def computed(tensor: Tensor) -> Tensor:
    """The tensor in the dtype that is computed in: half precision goes to float32."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def require_channel_dim(name: str, shape: torch.Size, channel_dim: int) -> None:
    """Check which dimension of activations (n, ..) holds the channels; the first one holds the examples."""
    if channel_dim == 0 or not -len(shape) < channel_dim < len(shape):
        msg = (
            f"channel_dim must name a dimension of {name} {tuple(shape)} other than the first, "
            f"got {channel_dim}"
        )
        raise ValueError(msg)


def require_weights(name: str, weights: Any, size: int, cost: Costs, dtype: torch.dtype) -> Tensor:
    """Check weights (size,) or (B, size) in the cost's own dtype; None means uniform ones."""
    if weights is None:
        count: Any = size
        if isinstance(count, Tensor):  # in a trace, where quotients of sizes would be float32
            count = count.double()
        return torch.full((size,), 1.0 / count, dtype=cost.dtype, device=cost.device)
    require_floating(name, weights)
    if weights.dtype != dtype:
        msg = f"{name} must have the cost's dtype {dtype}, got {weights.dtype}"
        raise TypeError(msg)
    require_shape(name, weights, size, cost)
    return computed(weights)


def require_shape(name: str, vector: Tensor, size: int, cost: Costs) -> None:
    """Check that a vector is (size,) or (B, size) and on the cost's device."""
    if vector.device != cost.device:
        msg = f"{name} must be on the cost's device {cost.device}, got {vector.device}"
        raise ValueError(msg)
    if vector.ndim not in (1, 2) or vector.shape[-1] != size:
        msg = (
            f"{name} must have shape ({size},) or (B, {size}) for a cost of shape "
            f"{tuple(cost.shape)}, got {tuple(vector.shape)}"
        )
        raise ValueError(msg)


def require_strength(name: str, value: Any, cost: Costs) -> Tensor:
    """Check reg or beta, a number or a Tensor () or (B,); returns it in float64."""
    if isinstance(value, Tensor):
        require_floating(name, value)
        if value.ndim > 1:
            msg = f"{name} must be a number or have shape () or (B,), got {tuple(value.shape)}"
            raise ValueError(msg)
        if value.device != cost.device:
            msg = f"{name} must be on the cost's device {cost.device}, got {value.device}"
            raise ValueError(msg)
        if _requires_grad(value):
            msg = f"{name} is not differentiated: pass {name}.detach()"
            raise ValueError(msg)
        return value.double()
    number = require_number(name, value)
    if not 0 < number < math.inf:
        msg = f"{name} must be finite and positive, got {number}"
        raise ValueError(msg)
    return torch.full((), number, dtype=torch.float64, device=cost.device)


def _requires_grad(tensor: Tensor) -> bool:
    """Whether a tensor, or one that a functorch transform has wrapped in it, requires a gradient."""
    if torch.compiler.is_compiling():
        return tensor.requires_grad
    while not tensor.requires_grad:
        if not torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            return False
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return True


def require_number(name: str, value: Any) -> float:
    """Check a real number that float64 can hold, were it by an infinity."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"{name} must be a number, got {type(value).__name__}"
        raise TypeError(msg)
    try:
        return float(value)
    except OverflowError:
        msg = f"{name} must be in the range of float64, and is beyond it"
        raise ValueError(msg) from None


def as_finite(value: Any) -> float:
    """A real number, were it a tensor's, as float64 holds it; NaN if it is none, or beyond the range."""
    is_one = isinstance(value, numbers.Real) or (isinstance(value, Tensor) and value.ndim == 0)
    try:
        number = float(value) if is_one else math.nan
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def require_positive(name: str, value: Any) -> None:
    """Check a finite number above 0."""
    if not as_finite(value) > 0:
        msg = f"{name} must be finite and > 0, got {value!r}"
        raise ValueError(msg)


def require_count(name: str, value: Any, largest: int) -> int:
    """Check an integer in [1, largest]."""
    if isinstance(value, bool):
        msg = f"{name} must be an integer, got bool"
        raise TypeError(msg)
    try:
        count = operator.index(value)
    except TypeError:
        msg = f"{name} must be an integer, got {type(value).__name__}"
        raise TypeError(msg) from None
    if not 1 <= count <= largest:
        msg = f"{name} must be at least 1 and at most {largest}, got {count}"
        raise ValueError(msg)
    return count


def require_at_least(name: str, value: object, least: int) -> int:
    """Check an integer of at least so much, which True is not."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        msg = f"{name} must be an integer >= {least}, got {value!r}"
        raise ValueError(msg)
    return value


def require_tol(tol: Any, dtype: torch.dtype) -> float:
    """Check a tolerance; None means the default of the dtype."""
    if tol is None:
        return 1e-8 if dtype == torch.float64 else 1e-5
    number = require_number("tol", tol)
    if not 0 <= number < math.inf:
        msg = f"tol must be finite and non-negative, got {number}"
        raise ValueError(msg)
    return number


def require_limits(max_iter: Any, tol: Any) -> None:
    """Check what will limit a solve later on, of any dtype; None is the solver's own choice."""
    if max_iter is not None:
        require_count("max_iter", max_iter, MAX_ITER)
    require_tol(tol, torch.float32)


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """Check one of some names."""
    if not isinstance(value, str):
        msg = f"{name} must be one of {', '.join(choices)}, got {type(value).__name__}"
        raise TypeError(msg)
    if value not in choices:
        msg = f"{name} must be one of {', '.join(choices)}, got {value!r}"
        raise ValueError(msg)
    return value


def require_names(name: str, names: Any) -> tuple[str, ...]:
    """Check a sequence of names, which one string is not: it would be read letter by letter."""
    if isinstance(names, (str, bytes)):
        msg = f"{name} must be a sequence of names, got the string {names!r}"
        raise ValueError(msg)  # noqa: TRY004 - the house rule: only dtypes and non-tensors
    found = tuple(names)
    for place, one in enumerate(found):
        if not isinstance(one, str):
            msg = f"{name} must hold names, but {name}[{place}] is {one!r}"
            raise ValueError(msg)  # noqa: TRY004
    return found


def require_finite(what: str, values: Tensor) -> None:
    """Raise ValueError with the first value that is not finite, if any."""
    bad = (~values.detach().isfinite()).nonzero()
    if len(bad):
        index = tuple(bad[0].tolist())
        msg = f"{what} must be finite: [{', '.join(map(str, index))}] is {values[index].item()}"
        raise ValueError(msg)


def require_method(method: object, reg: object, beta: object) -> str:
    """Resolve `method` and refuse arguments that contradict it or each other."""
    chosen = require_choice("method", method, METHODS)
    if chosen == "auto":
        chosen = "exact" if reg is None else "sinkhorn"
    if chosen == "sinkhorn" and reg is None:
        msg = "method 'sinkhorn' needs reg: a number > 0, or a Tensor () or (B,)"
        raise ValueError(msg)
    if chosen != "sinkhorn" and reg is not None:
        msg = f"reg belongs to method 'sinkhorn', and method is {chosen!r}: drop one of them"
        raise ValueError(msg)
    if chosen != "ipot" and beta is not None:
        msg = f"beta belongs to method 'ipot', and method is {chosen!r}: drop one of them"
        raise ValueError(msg)
    return chosen


def require_potentials(
    potentials: Any, cost: Costs, dtype: torch.dtype
) -> tuple[Tensor | None, Tensor | None]:
    """Check a warm start (f, g), in the cost's dtype or in float64."""
    if potentials is None:
        return None, None
    if not isinstance(potentials, (tuple, list)) or len(potentials) != 2:
        msg = f"potentials_init must be a pair (f, g) of tensors, got {type(potentials).__name__}"
        raise TypeError(msg)
    checked = []
    for name, potential, size in zip(("f", "g"), potentials, cost.shape[-2:], strict=True):
        label = f"potentials_init {name}"
        require_floating(label, potential)
        if potential.dtype not in (dtype, cost.dtype, torch.float64):
            msg = f"{label} must have the cost's dtype {dtype} or float64, got {potential.dtype}"
            raise TypeError(msg)
        require_shape(label, potential, size, cost)
        checked.append(potential.detach().double())
    return checked[0], checked[1]


def require_one_batch(**tensors: tuple[Tensor | Costs | None, int]) -> int | None:
    """Check that all batched tensors have one batch size; None if none is batched.

    Args:
        **tensors: name=(tensor, its number of dimensions without a batch).
    """
    batch: int | None = None
    first = ""
    for name, (tensor, own) in tensors.items():
        if tensor is None or tensor.ndim == own:
            continue
        size = tensor.shape[0]
        if batch is None:
            batch, first = size, name
        elif size != batch:
            msg = f"{name} must have the batch size {batch} of {first}, got {tuple(tensor.shape)}"
            raise ValueError(msg)
    return batch
