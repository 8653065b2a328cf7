"""A bank of critics is its critics: values, training, penalties, and each one taken out again."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch

from kantorch.critics import CriticBank, GroupSortNet, MinMaxTree, gradient_penalty, mlp

KINDS = {
    "tree": lambda d: MinMaxTree(d, units=8),
    "deep tree": lambda d: MinMaxTree(d, units=8, hidden=(d,)),
    "cayley tree": lambda d: MinMaxTree(d, units=8, hidden=(d,), orthogonal_map="cayley"),
    "branches": lambda d: MinMaxTree(d, units=2, hidden=(d,), branches=3),
    "sorted": lambda d: GroupSortNet(d, (8, 8), group_size=2),
    "exponential": lambda d: GroupSortNet(d, (4,), orthogonal_map="matrix_exp"),
    "relu": lambda d: mlp(d, (8,)),
}
DIMENSIONS = {"a": 2, "b": 5, "c": 2, "d": 1, "e": 5, "f": 2}


@pytest.fixture(params=KINDS)
def critics(request):
    return {name: KINDS[request.param](d).double() for name, d in DIMENSIONS.items()}


def draw(bank, count=12):
    return [
        torch.randn(len(names), count, DIMENSIONS[names[0]], dtype=torch.float64)
        for names in bank.groups
    ]


def apart(bank, stacks):
    return {
        name: rows
        for names, stack in zip(bank.groups, stacks, strict=True)
        for name, rows in zip(names, stack, strict=True)
    }


def assert_close(x, y):
    torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-12)


def test_critics_of_the_same_shapes_are_one_group(critics):
    assert CriticBank(critics).groups == (("a", "c", "f"), ("b", "e"), ("d",))


def test_other_settings_are_another_group():
    critics = {"a": GroupSortNet(2, (4,)), "b": GroupSortNet(2, (4,), group_size=2)}
    assert CriticBank(critics).groups == (("a",), ("b",))


class Scaled(torch.nn.Module):
    """k <w, x> + b, followed by dropout; `repr` shows no k."""

    def __init__(self, k=1.0, dropout=0.0, **others):
        super().__init__()
        self.k = k
        self.layer = torch.nn.Linear(2, 1)
        self.dropout = torch.nn.Dropout(dropout)
        vars(self).update(others)

    def forward(self, x):
        return self.dropout(self.k * self.layer(x)[..., 0])


def square(x):
    return x * x


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"k": 1.0}, {"k": 10.0}),
        ({"k": 1}, {"k": 1.0}),
        ({}, {"extra": None}),
        ({"shift": torch.zeros(2)}, {"shift": torch.ones(2)}),
        ({"shift": np.zeros(2)}, {"shift": np.zeros(2)}),  # cannot be told
        ({"steps": [1, {"a": 2}]}, {"steps": [1, {"a": 3}]}),
        ({"map": square}, {"map": torch.square}),
        ({"dropout": 0.1}, {"dropout": 0.2}),
    ],
)
def test_critics_that_differ_in_more_than_values_are_apart(one, other):
    critics = {"a": Scaled(**one), "b": Scaled(**other), "c": Scaled(**one)}
    bank = CriticBank(critics).eval()
    assert bank.groups == (("a", "c"), ("b",))
    points = [torch.randn(len(names), 5, 2) for names in bank.groups]
    for name, values in apart(bank, bank(points)).items():
        assert torch.allclose(values, critics[name].eval()(apart(bank, points)[name]))


def test_what_a_submodule_does_counts_and_training_mode_does_not():
    critics = {name: mlp(2, (4,)) for name in "abc"}
    critics["b"][1] = torch.nn.Tanh()
    critics["c"].eval()
    assert CriticBank(critics).groups == (("a", "c"), ("b",))
    critics["d"] = mlp(2, (4, 4))
    critics["e"] = mlp(2, (4, 4))
    critics["e"][3] = critics["e"][1]  # the same module twice
    assert CriticBank(critics).groups == (("a", "c"), ("b",), ("d", "e"))
    critics["c"][0].register_forward_hook(lambda module, inputs, output: 2 * output)
    assert CriticBank(critics).groups == (("a",), ("b",), ("c",), ("d", "e"))


def test_evaluation_and_training_mode_reach_the_critics():
    critics = {"a": Scaled(dropout=0.5), "b": Scaled(dropout=0.5)}
    bank = CriticBank(critics)
    x = torch.randn(1, 200, 2).expand(2, -1, 2)
    zeros = bank([x])[0] == 0
    assert zeros.any()
    assert not torch.equal(*zeros)  # each critic draws its own
    bank.eval()
    assert torch.allclose(bank([x])[0], torch.stack([c.eval()(x[0]) for c in critics.values()]))
    assert not bank.critic("b").training
    bank.train()
    assert (bank([x])[0] == 0).any()
    assert bank.critic("b").dropout.training


def test_a_critic_of_a_bank_has_its_dtype_and_place(critics):
    bank = CriticBank(critics).float()
    for name, critic in critics.items():
        taken = bank.critic(name)
        assert {p.dtype for p in taken.parameters()} == {torch.float32}
        points = torch.randn(3, DIMENSIONS[name])
        torch.testing.assert_close(taken(points), critic.float()(points), rtol=1e-4, atol=1e-5)
    assert all(p.is_meta for p in bank.to("meta").critic("a").parameters())


def test_frozen_parameters_stay_frozen():
    critics = {name: Scaled() for name in "abc"}
    critics["a"].layer.bias.requires_grad_(requires_grad=False)
    critics["c"].layer.bias.requires_grad_(requires_grad=False)
    bank = CriticBank(critics)
    assert bank.groups == (("a", "c"), ("b",))
    assert [p.requires_grad for p in bank.parameters()] == [True, False, True, True]
    for name, critic in critics.items():
        taken = bank.critic(name)
        assert [p.requires_grad for p in taken.parameters()] == [
            p.requires_grad for p in critic.parameters()
        ]


def test_values_that_are_not_saved_are_kept_in_a_critic_taken_out():
    critics = {"a": Scaled(), "b": Scaled()}
    for k, critic in enumerate(critics.values()):
        critic.register_buffer("offset", torch.tensor(float(k)), persistent=False)
    assert CriticBank(critics).critic("b").offset == 1


def test_values_are_those_of_each_critic(critics):
    bank = CriticBank(critics)
    points = draw(bank)
    for name, values in apart(bank, bank(points)).items():
        assert_close(values, critics[name](apart(bank, points)[name]))


@pytest.mark.parametrize("penalised", [False, True])
def test_training_a_bank_is_training_each_critic(critics, penalised):
    bank = CriticBank(critics)
    together = torch.optim.Adam(bank.parameters(), lr=0.05)
    alone = {n: torch.optim.Adam(c.parameters(), lr=0.05) for n, c in critics.items()}
    for step in range(6):
        x, y = draw(bank), draw(bank)
        losses = [(v - u).mean(-1).sum() for u, v in zip(bank(x), bank(y), strict=True)]
        if penalised:
            for place, (p, q) in enumerate(zip(x, y, strict=True)):
                group = functools.partial(bank.values, place)
                generator = torch.Generator().manual_seed(step)
                losses.append(gradient_penalty(group, p, q, generator).sum())
        together.zero_grad()
        torch.stack(losses).sum().backward()
        together.step()
        for place, (names, p, q) in enumerate(zip(bank.groups, x, y, strict=True)):
            share = torch.rand(
                p.shape[:-1], dtype=p.dtype, generator=torch.Generator().manual_seed(step)
            )
            assert len(names) == len(p) == len(bank.groups[place])
            for name, u, v, t in zip(names, p, q, share, strict=True):
                critic = critics[name]
                loss = critic(v).mean() - critic(u).mean()
                if penalised:
                    z = (u + t[:, None] * (v - u)).requires_grad_()
                    (slope,) = torch.autograd.grad(critic(z).sum(), z, create_graph=True)
                    loss = loss + (slope.norm(dim=1) - 1).square().mean()
                alone[name].zero_grad()
                loss.backward()
                alone[name].step()
    for name, critic in critics.items():
        taken = bank.critic(name)
        points = torch.randn(20, DIMENSIONS[name], dtype=torch.float64)
        torch.testing.assert_close(taken(points), critic(points), rtol=1e-6, atol=1e-8)


def test_the_critics_given_are_not_touched(critics):
    before = copy.deepcopy({n: c.state_dict() for n, c in critics.items()})
    bank = CriticBank(critics)
    with torch.no_grad():
        for parameter in bank.parameters():
            parameter.add_(1)
    for name, critic in critics.items():
        assert all(torch.equal(v, before[name][k]) for k, v in critic.state_dict().items())


def test_its_state_is_saved_and_loaded(critics, tmp_path):
    bank = CriticBank(critics)
    torch.save(bank.state_dict(), tmp_path / "bank.pt")
    torch.manual_seed(5)
    other = CriticBank(critics)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(3)
    other.load_state_dict(torch.load(tmp_path / "bank.pt", weights_only=True))
    points = draw(bank)
    assert all(torch.equal(u, v) for u, v in zip(bank(points), other(points), strict=True))


def test_no_parameter_is_left_without_a_gradient(critics):
    bank = CriticBank(critics)
    torch.stack([v.sum() for v in bank(draw(bank, 500))]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in bank.parameters())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CriticBank({}), "critics must hold at least one"),
        (lambda: two()([torch.zeros(1, 3, 2)]), "points must hold a stack for each of 2 groups"),
        (
            lambda: two()([torch.zeros(2, 3, 2), torch.zeros(1, 3, 3)]),
            r"points of group 0 must have shape \(1, .., D\).*got \(2, 3, 2\)",
        ),
    ],
)
def test_faults_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_an_unknown_critic_is_a_key_error():
    with pytest.raises(KeyError, match="z"):
        two().critic("z")


def two():
    return CriticBank({"a": MinMaxTree(2), "b": MinMaxTree(3)})
