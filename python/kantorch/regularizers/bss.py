"""Batch spectral shrinkage: push the weakest directions of the features to zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kantorch.regularizers._capture import LayerCapture
from kantorch.regularizers._parameters import require_strength
from kantorch.regularizers.neurons import neurons

if TYPE_CHECKING:
    from collections.abc import Sequence


class BSS(nn.Module):
    """alpha times the k smallest squared singular values of each layer's features, summed.

    The features of a batch are a matrix of n examples by d neurons; maps are averaged over their
    positions. Directions with small singular values carry little of the source task that helps and
    much that misleads, so they are shrunk; the large ones stay. Meant to be added to a penalty that
    holds on to the source, such as L2SP or DELTA.

    Args:
        student: The network that is trained. It is watched, not owned: it is no submodule, and the
            regularizer's state_dict is empty.
        layers: Dotted names of the layers whose outputs are the features, usually the last one
            before the classifier.
        k: How many singular values of each layer are shrunk, at least 1.
        alpha: Strength, finite and >= 0.

    Returns:
        From a call after the student has run, a scalar tensor. Inputs of the call are ignored.

    Raises:
        ValueError: If an argument is out of range or a layer is unknown; from a call, if a layer
            has fewer than k singular values (both numbers are named).
        RuntimeError: From a call, if the student has not run since the last one, or ran without
            gradients.
        TypeError: From a call, if a layer returns no floating tensor.

    Source:
        Chen, Wang, Fu, Long, Wang: Catastrophic forgetting meets negative transfer: batch spectral
        shrinkage for safe transfer learning, NeurIPS 2019; k = 1 and alpha = 1e-3 are its
        settings.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import BSS
        >>> student = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(2, 3))
        >>> penalty = BSS(student, layers=["0"], alpha=0.5)
        >>> _ = student(torch.diag(torch.tensor([3.0, 2.0])))
        >>> round(penalty().item(), 6)
        2.0
    """

    def __init__(
        self, student: nn.Module, *, layers: Sequence[str], k: int = 1, alpha: float = 1e-3
    ) -> None:
        super().__init__()
        require_strength("alpha", alpha)
        if not (isinstance(k, int) and k >= 1):
            msg = f"k must be an integer >= 1, got {k!r}"
            raise ValueError(msg)
        if isinstance(layers, str) or not layers:
            msg = f"layers must be a non-empty sequence of module names, got {layers!r}"
            raise ValueError(msg)
        self.k = k
        self.alpha = alpha
        self._features = LayerCapture(student, layers, "student")

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Return the penalty on the features of the student's last forward pass."""
        taken = self._features.take(graph=torch.is_grad_enabled())
        terms = [self._tail(name, features) for name, features in taken.items()]
        return torch.stack(terms).sum() * self.alpha

    def _tail(self, layer: str, features: Tensor) -> Tensor:
        matrix = neurons(features)
        if self.k > min(matrix.shape):
            msg = (
                f"k must be at most the number of singular values, got k={self.k} and features of "
                f"shape {tuple(matrix.T.shape)} in layer {layer!r}"
            )
            raise ValueError(msg)
        with torch.autocast(device_type=matrix.device.type, enabled=False):
            # In descending order.
            values: Tensor = torch.linalg.svdvals(matrix)
            return values[-self.k :].square().sum()

    def close(self) -> None:
        """Remove the hooks from the student; the regularizer is then unusable."""
        self._features.close()

    def extra_repr(self) -> str:
        """Show the layers and the settings."""
        return f"layers={list(self._features.layers)}, k={self.k}, alpha={self.alpha}"
