"""Batch spectral shrinkage: push the weakest directions of the features to zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kantorch._check import require_at_least
from kantorch.regularizers._regularizer import Regularizer
from kantorch.regularizers.layer import Layer, as_layers, require_finite
from kantorch.regularizers.neurons import neurons
from kantorch.regularizers.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


class BSS(Regularizer):
    """alpha times the k smallest squared singular values of each layer's features, summed.

    The features of a batch are a matrix of n examples by d neurons; maps are averaged over their
    positions. Directions with small singular values carry little of the source task that helps and
    much that misleads, so they are shrunk; the large ones stay. Meant to be added to a penalty that
    holds on to the source, such as L2SP or DELTA.

    Args:
        student: The network that is trained, or a `Watch` of it.
        layers: Names of the layers whose outputs are the features, usually the last one before the
            classifier, or a `Layer` for each.
        k: How many singular values of each layer are shrunk, at least 1.
        alpha: Strength, finite and >= 0.

    Returns:
        From a call after the student has run, a scalar tensor.

    Raises:
        ValueError: If an argument is out of range or a layer is unknown; from a call, if a layer
            has fewer than k singular values (both numbers are named), or an activation is not finite
            (its layer is named).
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
        >>> student = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 3))
        >>> _ = torch.nn.init.eye_(student[0].weight)
        >>> penalty = BSS(student, layers=["0"], alpha=0.5)
        >>> _ = student(torch.diag(torch.tensor([3.0, 2.0])))
        >>> round(penalty().item(), 6)
        2.0
    """

    def __init__(
        self,
        student: nn.Module | Watch,
        *,
        layers: Sequence[str | Layer],
        k: int = 1,
        alpha: float = 1e-3,
    ) -> None:
        super().__init__(alpha)
        self.k = require_at_least("k", k, 1)
        self.layers = as_layers(layers)
        self.watch = Watch.of(student, None, copied=False)
        self._reader = self.watch.reader(self.layers, teacher=False)

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Return the penalty on the features of the student's last forward pass."""
        taken = self.watch.take(self._reader, self.layers, inputs, named, teacher=False)
        return self._total(
            {
                layer.name: self._tail(layer, features) * layer.weight
                for layer, (features, _) in zip(self.layers, taken, strict=True)
            }
        )

    def _tail(self, layer: Layer, features: Tensor) -> Tensor:
        matrix = neurons(features, channel_dim=layer.channels(features))
        if self.k > min(matrix.shape):
            msg = (
                f"k must be at most the number of singular values, got k={self.k} and features of "
                f"shape {tuple(matrix.T.shape)} in layer {layer.name!r}"
            )
            raise ValueError(msg)
        if not matrix.isfinite().all():
            require_finite("student", layer.name, features)
            require_finite("student", layer.name, matrix.T)  # a mean that overflows
        with torch.autocast(device_type=matrix.device.type, enabled=False):
            # In descending order.
            values: Tensor = torch.linalg.svdvals(matrix)
            return values[-self.k :].square().sum()

    def extra_repr(self) -> str:
        """Show the layers and the settings."""
        return f"layers={[layer.name for layer in self.layers]}, k={self.k}, alpha={self.alpha}"
