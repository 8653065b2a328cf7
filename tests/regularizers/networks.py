"""Small networks that the regularizer tests share."""

from __future__ import annotations

import copy

import torch
from torch import nn


def perceptron(widths=(6, 10), inputs=4, seed=0, dtype=torch.float32):
    """One hidden layer per width, named hidden0, hidden1, ..., and a head."""
    torch.manual_seed(seed)
    layers = {}
    for index, width in enumerate(widths):
        layers[f"hidden{index}"] = nn.Sequential(nn.Linear(inputs, width), nn.ReLU())
        inputs = width
    layers["head"] = nn.Linear(inputs, 3)
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network.to(dtype)


def with_neurons_permuted(network, layer, permutation):
    """A copy whose neurons of a layer changed places; its outputs are the same."""
    permuted = copy.deepcopy(network)
    names = [name for name, _ in permuted.named_children()]
    linear = getattr(permuted, layer)[0]
    following = getattr(permuted, names[names.index(layer) + 1])
    following = following[0] if isinstance(following, nn.Sequential) else following
    with torch.no_grad():
        linear.weight.copy_(linear.weight[permutation])
        linear.bias.copy_(linear.bias[permutation])
        following.weight.copy_(following.weight[:, permutation])
    return permuted


def moved(network, size=0.3, seed=5):
    """A copy whose parameters were disturbed."""
    other = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_((size * noise).to(parameter.dtype))
    return other
