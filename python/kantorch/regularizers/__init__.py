"""Penalties that keep a network near a reference, one method per file, usable in any training loop."""

from kantorch.regularizers.l2 import L2
from kantorch.regularizers.l2sp import L2SP
from kantorch.regularizers.neurons import neuron_cost, neurons
from kantorch.regularizers.representation import RepresentationTransport, transport_penalty

__all__ = [
    "L2",
    "L2SP",
    "RepresentationTransport",
    "neuron_cost",
    "neurons",
    "transport_penalty",
]
