"""A bank of critics is its critics: values, training, penalties, and each one taken out again."""

from __future__ import annotations

import copy
import functools

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
