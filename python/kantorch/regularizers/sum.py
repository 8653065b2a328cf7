"""Several penalties as one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from torch import Tensor, nn

from kantorch.regularizers._regularizer import Regularizer

if TYPE_CHECKING:
    from collections.abc import Mapping


class Sum(Regularizer):
    """The sum of several regularizers, times alpha.

    Give those that look at activations one `Watch`, so that the teacher runs once.

    Args:
        *penalties: Regularizers; they are named after their classes, and numbered if one occurs
            twice.
        alpha: A common factor, finite and >= 0.
        **named: Regularizers with names of your own.

    Returns:
        From a call, which hands its arguments on, a scalar tensor.

    Raises:
        ValueError: If there is no penalty, or a name occurs twice, is empty or has a dot or a slash.
        TypeError: If a penalty is no module.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import L2, L2SP, Sum
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
        >>> penalty = Sum(L2(model, alpha=1e-4), L2SP(model, head=["1"], alpha=0.1))
        >>> _ = penalty()
        >>> list(penalty.terms)
        ['L2/weights', 'L2SP/encoder', 'L2SP/head']
    """

    def __init__(self, *penalties: object, alpha: float = 1.0, **named: object) -> None:
        super().__init__(alpha)
        found: dict[str, object] = {}
        for penalty in penalties:
            kind = type(penalty).__name__
            names = itertools.chain([kind], (f"{kind}{k}" for k in itertools.count(2)))
            found[next(name for name in names if name not in found)] = penalty
        for name, penalty in named.items():
            if not name or {".", "/"} & set(name):
                msg = f"names of penalties must be without dots and slashes, got {name!r}"
                raise ValueError(msg)
            if name in found:
                msg = f"names of penalties must differ, got {name!r} twice"
                raise ValueError(msg)
            found[name] = penalty
        if not found:
            msg = "penalties must hold at least one regularizer, got none"
            raise ValueError(msg)
        modules: dict[str, nn.Module] = {}
        for name, penalty in found.items():
            if not isinstance(penalty, nn.Module):
                msg = f"penalties must be modules, got {type(penalty).__name__} as {name!r}"
                raise TypeError(msg)
            modules[name] = penalty
        self.penalties = _Penalties(modules)

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Return the sum of the penalties' values."""
        values = {name: p(*inputs, **named) for name, p in self.penalties.items()}
        total = self._total(values)
        self._terms = dict(self._named_terms(values))
        return total

    def _named_terms(self, values: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
        found = []
        for name, value in values.items():
            penalty = self.penalties[name]
            parts = penalty.terms if isinstance(penalty, Regularizer) else {}
            found += [(f"{name}/{part}", term * self.alpha) for part, term in parts.items()]
            if not parts:
                found.append((name, value.detach() * self.alpha))
        return found

    def close(self) -> None:
        """Remove the hooks of all penalties."""
        for penalty in self.penalties.values():
            if isinstance(penalty, Regularizer):
                penalty.close()


class _Penalties(nn.ModuleDict):
    """By names that may be those of a ModuleDict's own attributes, such as `keys` and `type`."""

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Enter a penalty."""
        assert module is not None
        self._modules[name] = module
