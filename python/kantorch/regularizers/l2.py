"""Weight decay as a penalty: the squared norm of the parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kantorch.regularizers._parameters import squared_norm, trainable
from kantorch.regularizers._regularizer import Regularizer

if TYPE_CHECKING:
    from torch import Tensor, nn


class L2(Regularizer):
    """Half the squared norm of the trainable parameters: alpha/2 ||w||^2.

    Args:
        model: The network that is trained. It is watched, not owned: it is no submodule, and the
            regularizer's state_dict is empty.
        alpha: Strength, finite and >= 0.

    Returns:
        From a call, a scalar tensor. Inputs of the call are ignored, so that the regularizer can
        stand where one that looks at the batch stood.

    Raises:
        ValueError: If alpha is negative or not finite, or the model has no trainable parameter.

    Source:
        Li, Grandvalet, Davoine: Explicit inductive bias for transfer learning with convolutional
        networks, ICML 2018, section 3 (alpha-L2).

    Example:
        >>> import torch
        >>> from kantorch.regularizers import L2
        >>> model = torch.nn.Linear(3, 1, bias=False)
        >>> _ = torch.nn.init.constant_(model.weight, 2.0)
        >>> L2(model, alpha=0.1)().item()
        0.6000000238418579
    """

    def __init__(self, model: nn.Module, *, alpha: float = 1.0) -> None:
        super().__init__(alpha)
        self._model = (model,)  # a tuple hides it from nn.Module
        trainable(model)

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Return alpha/2 ||w||^2 for the parameters as they are now."""
        weights = list(trainable(self._model[0]).values())
        return self._total({"weights": squared_norm(weights) / 2})

    def extra_repr(self) -> str:
        """Show the strength."""
        return f"alpha={self.alpha}"
