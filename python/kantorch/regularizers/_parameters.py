"""What the penalties on parameters share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from kantorch._check import as_finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


def require_strength(name: str, value: Any) -> None:
    """Check that a regularization strength is finite and not negative."""
    if not as_finite(value) >= 0:
        msg = f"{name} must be finite and >= 0, got {value!r}"
        raise ValueError(msg)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters of a model by name."""
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        msg = f"model must have trainable parameters, got {type(model).__name__} without any"
        raise ValueError(msg)
    return found


def squared_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the sum of squared sizes over all tensors, in float32 or wider."""
    parts = [t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors]
    # Not abs, whose derivative at 0 would need a word.
    parts = [torch.view_as_real(part) if part.is_complex() else part for part in parts]
    return torch.stack([part.square().sum() for part in parts]).sum()
