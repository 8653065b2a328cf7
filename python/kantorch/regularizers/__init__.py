"""Penalties that keep a network near a reference, one method per file, usable in any training loop."""

from kantorch.regularizers.bss import BSS
from kantorch.regularizers.delta import DELTA, channel_attention
from kantorch.regularizers.distillation import KnowledgeDistillation
from kantorch.regularizers.filter_wasserstein import FilterWasserstein
from kantorch.regularizers.fitnet import FitNet
from kantorch.regularizers.kernel_prior import KernelPrior, kernels
from kantorch.regularizers.l2 import L2
from kantorch.regularizers.l2sp import L2SP
from kantorch.regularizers.label_cost import label_cost
from kantorch.regularizers.label_transport import LabelTransport
from kantorch.regularizers.layer import Layer
from kantorch.regularizers.neurons import neuron_cost, neurons
from kantorch.regularizers.representation import RepresentationTransport, transport_penalty
from kantorch.regularizers.sum import Sum
from kantorch.regularizers.watch import Watch

__all__ = [
    "BSS",
    "DELTA",
    "L2",
    "L2SP",
    "FilterWasserstein",
    "FitNet",
    "KernelPrior",
    "KnowledgeDistillation",
    "LabelTransport",
    "Layer",
    "RepresentationTransport",
    "Sum",
    "Watch",
    "channel_attention",
    "kernels",
    "label_cost",
    "neuron_cost",
    "neurons",
    "transport_penalty",
]
