"""How many neurons kept their place: the plan between two networks over a whole data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from kantorch.regularizers import Watch, neuron_cost, transport_penalty
from kantorch.regularizers.layer import as_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from kantorch.regularizers import Layer


class PlanTrace:
    """Trace of the exact plan between the neurons of a network and of its reference.

    Batches come one after the other. What is kept is the sum of squared distances between neurons,
    whose root is the distance over all examples; activations are not kept.

    Args:
        network: The trained network.
        reference: Another with the same layers; put into evaluation mode at each batch.
        layers: Which to compare.
    """

    def __init__(
        self, network: nn.Module, reference: nn.Module, layers: Sequence[str | Layer]
    ) -> None:
        self._network = network
        self._reference = reference
        self._layers = as_layers(layers)
        self._squared: dict[str, Tensor] = {}

    @torch.no_grad()
    def observe(self, images: Tensor) -> Tensor:
        """Take a batch in and return the network's logits (n, classes)."""
        watch = Watch(self._network, self._reference)
        try:
            reader = watch.reader(self._layers, teacher=True)
            logits: Tensor = self._network(images)
            pairs = watch.take(reader, self._layers, teacher=True)
        finally:
            watch.close()
        for layer, (features, reference) in zip(self._layers, pairs, strict=True):
            assert reference is not None
            distances = neuron_cost(features, reference, device="cpu")
            squared = distances.double().square()
            self._squared[layer.name] = self._squared.get(layer.name, torch.zeros(())) + squared
        return logits

    def plans(self) -> dict[str, Tensor]:
        """Return the plan (d, d') per layer, of mass 1, and forget the batches."""
        sums, self._squared = self._squared, {}
        return {
            layer: transport_penalty(squared.sqrt(), solver="exact")[1]
            for layer, squared in sums.items()
        }

    def compute(self) -> dict[str, float]:
        """Return the trace of each layer's plan, and forget the batches."""
        return {layer: plan.diagonal().sum().item() for layer, plan in self.plans().items()}
