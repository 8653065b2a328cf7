"""What all regularizers have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kantorch.regularizers._parameters import require_strength

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from typing_extensions import Self

    from kantorch.regularizers.watch import Watch


class Regularizer(nn.Module):
    """A module whose call returns a finished term of the loss, strength included.

    Attributes:
        alpha: The strength. It may be changed between calls.
        watch: The `Watch` it reads, where it reads activations.
    """

    watch: Watch

    def __init__(self, alpha: float) -> None:
        super().__init__()
        require_strength("alpha", alpha)
        self.alpha = alpha
        self._terms: dict[str, Tensor] = {}

    @property
    def terms(self) -> dict[str, Tensor]:
        """What each part added to the last call's value, detached: they sum to it."""
        return dict(self._terms)

    def _total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The sum of the parts, which are noted as terms."""
        scaled = {name: part * self.alpha for name, part in parts.items()}
        self._terms = {name: part.detach() for name, part in scaled.items()}
        return torch.stack(list(scaled.values())).sum()

    def close(self) -> None:
        """Remove all hooks from student and teacher; what reads activations is then unusable."""
        watch: Watch | None = getattr(self, "watch", None)
        if watch is not None:
            watch.close()

    def __enter__(self) -> Self:
        """Use the regularizer in a `with` block, which removes the hooks at its end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the hooks."""
        self.close()
