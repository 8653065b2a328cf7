"""Critics survive pickling and torch.save, parametrized ones too, and are trained on."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from kantorch.critics import CriticBank, GroupSortNet, MinMaxTree, mlp

MAPS = ("bjorck", "cayley", "householder", "matrix_exp")
CRITICS = {
    **{f"tree {m}": MinMaxTree(3, 4, hidden=(3, 2), branches=2, orthogonal_map=m) for m in MAPS},
    **{f"sorted {m}": GroupSortNet(3, (4,), orthogonal_map=m) for m in MAPS},
    "spectral": mlp(3, (4,), spectral_steps=1),
    "relu": mlp(3, (4,)),
    "bank": CriticBank({"a": MinMaxTree(3, hidden=(3,)), "b": MinMaxTree(3, hidden=(3,))}),
}


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {
    "pickle": lambda content: pickle.loads(pickle.dumps(content)),
    "torch.save": saved,
    "twice": lambda content: saved(copy.deepcopy(saved(content))),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("kind", CRITICS)
def test_a_critic_and_its_optimizer_go_on_as_they_were(kind, way):
    critic = copy.deepcopy(CRITICS[kind]).double()
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.1)
    twin, its_optimizer = way((critic, optimizer))
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    for _ in range(2):
        values = [c([x])[0] if kind == "bank" else c(x) for c in (critic, twin)]
        assert torch.equal(*values)
        for value, each in zip(values, (optimizer, its_optimizer), strict=True):
            each.zero_grad()
            value.square().sum().backward()
            each.step()
    assert twin.state_dict().keys() == critic.state_dict().keys()
    assert [p.dtype for p in twin.float().parameters()] == [torch.float32] * len(
        list(twin.parameters())
    )
