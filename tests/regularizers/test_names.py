"""Names of layers: a string is no sequence of them, and a layer may be called anything."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kantorch.regularizers import (
    BSS,
    DELTA,
    L2,
    L2SP,
    FilterWasserstein,
    FitNet,
    KernelPrior,
    RepresentationTransport,
    Sum,
    channel_attention,
)


def numbered():
    """Layers "0" to "12", of which "12" can be read as "1" and "2"."""
    return nn.Sequential(*[nn.Linear(4, 4) for _ in range(13)])


BATCH = torch.zeros(2, 4), torch.zeros(2, dtype=torch.long)
TAKERS = {
    "DELTA's head": lambda names: DELTA(numbered(), layers=["0"], head=names),
    "L2SP's head": lambda names: L2SP(numbered(), head=names),
    "KernelPrior": lambda names: KernelPrior.from_models([numbered()], layers=names),
    "BSS": lambda names: BSS(numbered(), layers=names),
    "DELTA": lambda names: DELTA(numbered(), layers=names),
    "FitNet": lambda names: FitNet(numbered(), layers=names, example=BATCH[0]),
    "transport": lambda names: RepresentationTransport(numbered(), layers=names),
    "attention": lambda names: channel_attention(numbered(), [BATCH], layers=names),
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_a_string_is_no_sequence_of_names(take):
    with pytest.raises(ValueError, match=r"must be a .*sequence of .*names, got .*'12'"):
        take("12")
    take(["12"])


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_what_is_no_name_is_refused(take):
    with pytest.raises(ValueError, match=r"must hold names.* (got|is) 12"):
        take([12])


class Network(nn.Module):
    """Layers under names that nn.Module and nn.ModuleDict have for themselves."""

    NAMES = ("type", "half", "keys", "train", "forward", "parameters", "_modules", "T_destination")

    def __init__(self):
        super().__init__()
        self._modules.update({name: nn.Conv1d(2, 2, 3) for name in self.NAMES})
        self._parameters["apply"] = nn.Parameter(torch.ones(3))
        self.own = nn.Linear(2, 2)
        self.own._modules["type"] = nn.Linear(2, 2)

    def forward(self, x):
        return x


def test_a_layer_may_have_the_name_of_an_attribute():
    network = Network()
    penalty = L2SP(network, head=["half"], alpha=2.0, beta=0.0)
    state = penalty.state_dict()
    assert penalty().item() == 0
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    outside = sum(p.numel() for n, p in network.named_parameters() if not n.startswith("half."))
    assert penalty().item() == pytest.approx(outside)
    copied = L2SP(network, head=["half"], alpha=2.0, beta=0.0)
    assert copied().item() == 0
    copied.load_state_dict(copy.deepcopy(state))
    assert copied.double()().item() == pytest.approx(outside)
    own = KernelPrior.from_models([network], layers=["type", "train"])
    assert FilterWasserstein(network, own)().item() == 0
    assert KernelPrior.from_models([network]).samples.keys() == set(network.NAMES)
    delta = DELTA(network, layers=[""], head=["type"], beta=2.0)
    network(torch.ones(1, 2, requires_grad=True))
    squares = sum(p.square().sum() for p in network._modules["type"].parameters())
    torch.testing.assert_close(delta(), squares)


def test_a_penalty_may_have_the_name_of_an_attribute():
    network = nn.Linear(2, 2)
    names = ("type", "keys", "items", "pop", "training", "alpha_", "half")
    penalty = Sum(**{name: L2(network, alpha=0.5) for name in names})
    torch.testing.assert_close(penalty(), len(names) * L2(network, alpha=0.5)())
    assert penalty.terms.keys() == {f"{name}/weights" for name in names}
    assert set(penalty.penalties.keys()) == set(names)
    for name in ("a/b", "a.b", ""):
        with pytest.raises(ValueError, match="names of penalties must be without"):
            Sum(**{name: L2(network)})
