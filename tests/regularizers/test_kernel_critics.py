"""W1 between kernels by critics: beside the exact distance, in training, saved and gone on with."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kantorch.critics import GroupSortNet, MinMaxTree
from kantorch.regularizers import FilterWasserstein, KernelPrior
from regularizers.networks import moved


def convolutional(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 3)
    ).double()


def small_tree(coordinates):
    return MinMaxTree(coordinates, 16)


def shifted(model, size):
    """A copy whose kernels all moved by the same vector: W1 is size times its length."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(size)
    return other


def penalty_of(model, source, **settings):
    settings = {"critics": small_tree, "critic_rate": 0.02, "alpha": 1.0, "samples": 64} | settings
    return FilterWasserstein(model, KernelPrior.from_models([source]), **settings)


@pytest.mark.parametrize("critics", [small_tree, lambda d: GroupSortNet(d, (16,))])
def test_trained_critics_come_near_the_exact_distance(critics):
    source = convolutional()
    model = shifted(source, 0.5)
    penalty = penalty_of(model, source, critics=critics, samples=256)
    exact = FilterWasserstein(model, KernelPrior.from_models([source]), alpha=1.0, samples=None)
    exact()
    for _ in range(15):
        penalty.step()
    penalty()
    for name, value in exact.distances.items():
        assert penalty.distances[name].item() == pytest.approx(value.item(), rel=0.15)


def test_layers_of_the_same_kernels_share_their_steps():
    penalty = penalty_of(convolutional(), convolutional())
    assert penalty.critics._bank.groups == (("0", "4"), ("2",))
    assert isinstance(penalty.critics.critic("4"), MinMaxTree)


def test_the_penalty_is_the_weighted_sum_and_moves_the_model_alone():
    source = convolutional()
    model = shifted(source, 0.5)
    weights = {"0": 1.0, "2": 0.5, "4": 2.0}
    penalty = penalty_of(model, source, alpha=0.25, layer_weights=weights)
    penalty.step()
    before = [p.clone() for p in penalty.critics._bank.parameters()]
    for parameter in penalty.critics._bank.parameters():
        parameter.grad = None
    value = penalty()
    expected = sum(0.25 * weights[n] * d.item() for n, d in penalty.distances.items())
    assert value.item() == pytest.approx(expected)
    value.backward()
    for place in (0, 2, 4):
        assert model[place].weight.grad.norm() > 0
    assert all(p.grad is None for p in penalty.critics._bank.parameters())
    assert all(
        torch.equal(p, q) for p, q in zip(penalty.critics._bank.parameters(), before, strict=True)
    )


def test_a_step_moves_the_critics_alone():
    source = convolutional()
    model = shifted(source, 0.5)
    penalty = penalty_of(model, source)
    weights = [p.clone() for p in model.parameters()]
    before = [p.clone() for p in penalty.critics._bank.parameters()]
    with torch.no_grad():  # as a callback may
        penalty.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), weights, strict=True))
    assert all(p.grad is None for p in model.parameters())
    after = penalty.critics._bank.parameters()
    changed = [not torch.equal(p, q) for p, q in zip(after, before, strict=True)]
    assert sum(changed) >= len(changed) - 1  # unit rows of one coordinate are 1 or -1 for good


def test_critics_rise_within_a_step_of_the_network():
    source = convolutional()
    penalty = penalty_of(shifted(source, 0.5), source, samples=256)
    penalty()
    before = sum(d.item() for d in penalty.distances.values())
    penalty.step()
    assert sum(d.item() for d in penalty.distances.values()) > before


def test_training_against_critics_brings_the_kernels_to_the_prior():
    source = convolutional()
    model = shifted(source, 0.5)
    penalty = penalty_of(model, source, samples=128)
    exact = FilterWasserstein(model, KernelPrior.from_models([source]), alpha=1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    start = exact().item()
    for _ in range(40):
        penalty.step()
        optimizer.zero_grad()
        penalty().backward()
        optimizer.step()
    assert exact().item() < 0.6 * start


def test_critics_are_not_parameters_but_in_the_state():
    source = convolutional()
    penalty = penalty_of(moved(source), source)
    assert list(penalty.parameters()) == []
    assert "critics" in penalty.state_dict()["_extra_state"]


def test_a_saved_penalty_goes_on_as_if_it_had_not_been(tmp_path):
    source = convolutional()
    model = moved(source)
    first = penalty_of(model, source, layer_weights="adaptive")
    for _ in range(3):
        first.step()
    torch.save(first.state_dict(), tmp_path / "penalty.pt")
    torch.manual_seed(9)
    second = penalty_of(model, source, layer_weights="adaptive")
    second.load_state_dict(torch.load(tmp_path / "penalty.pt", weights_only=True))
    values = []
    for penalty in (first, second):
        torch.manual_seed(10)
        penalty.step()
        values.append((penalty().item(), penalty.layer_weights))
    assert values[0] == values[1]


def test_the_state_of_another_kind_is_refused():
    source = convolutional()
    critics, exact = penalty_of(source, source), penalty_of(source, source, critics=None)
    for one, other in ((critics, exact), (exact, critics)):
        with pytest.raises((ValueError, RuntimeError), match="critics"):
            one.load_state_dict(other.state_dict())


def test_it_moves_to_another_dtype():
    source = convolutional().float()
    model = moved(source)
    penalty = penalty_of(model, source)
    penalty.step()
    model.double()
    penalty.double()
    penalty.step()
    assert penalty().dtype == torch.float64


def test_half_precision_is_computed_in_single():
    source = convolutional().bfloat16()
    model = moved(source)
    penalty = penalty_of(model, source)
    penalty.step()
    value = penalty()
    value.backward()
    assert value.dtype == torch.float32
    assert model[0].weight.grad.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in penalty.critics._bank.parameters())


@pytest.mark.parametrize("critics", [None, small_tree])
def test_weights_adapt_to_how_far_the_kernels_are(critics):
    source = convolutional()
    prior = KernelPrior.from_models([source])
    settings = {"critics": critics, "critic_rate": 0.05, "samples": 64, "layer_weights": "adaptive"}
    start = FilterWasserstein(source, prior, layer_weights="scale").layer_weights

    def after(model, steps):
        penalty = FilterWasserstein(model, prior, **settings)
        assert penalty.layer_weights == start
        for _ in range(steps):
            penalty()
            penalty.step()
        return penalty.layer_weights

    far = after(shifted(source, 1.0), 3 if critics is None else 12)
    if critics is not None:  # which have to find the difference first, and may find one by chance
        assert all(far[name] > start[name] for name in start)
    else:
        assert all(far[name] == 8 * start[name] for name in start)
        near = after(source, 3)
        assert all(near[name] == start[name] / 8 for name in start)
        least = after(source, 12)
        assert all(least[name] == pytest.approx(start[name] * 1e-3) for name in start)


def test_a_step_without_critics_does_nothing():
    source = convolutional()
    penalty = penalty_of(moved(source), source, critics=None)
    value = penalty().item()
    penalty.step()
    assert penalty().item() == value


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"samples": None}, "samples must be an integer >= 1 with critics"),
        ({"critic_steps": 0}, "critic_steps must be an integer >= 1"),
        ({"critic_steps": True}, "critic_steps must be an integer >= 1"),
        ({"samples": True}, "samples must be an integer >= 1"),
        (
            {"critics": lambda d: nn.Linear(d, 1)},
            r"layer '0' values of one point have shape \(1, 1\)",
        ),
        ({"critic_rate": 0.0}, "critic_rate must be finite and > 0"),
        ({"critic_rate": float("nan")}, "critic_rate must be finite and > 0"),
    ],
)
def test_faults_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        penalty_of(convolutional(), convolutional(), **settings)


def test_a_weight_that_is_not_finite_is_named():
    source = convolutional()
    model = moved(source)
    penalty = penalty_of(model, source)
    with torch.no_grad():
        model[2].weight[1, 0] = float("inf")
    for call in (penalty, penalty.step):
        with pytest.raises(ValueError, match="model layer '2' must be finite"):
            call()


def test_what_is_frozen_in_a_critic_stays_frozen():
    def half_frozen(coordinates):
        critic = small_tree(coordinates)
        critic.bias.requires_grad_(requires_grad=False)
        return critic

    penalty = penalty_of(shifted(convolutional(), 0.5), convolutional(), critics=half_frozen)
    before = penalty.critics.critic("0").bias
    penalty()
    penalty.step()
    after = penalty.critics.critic("0")
    assert torch.equal(after.bias, before)
    assert not after.bias.requires_grad
    assert after.weight.requires_grad


def test_critics_step_in_inference_mode():
    penalty = penalty_of(shifted(convolutional(), 0.5), convolutional())
    before = penalty.critics.critic("0").weight
    with torch.inference_mode():
        penalty.step()
    assert not torch.equal(penalty.critics.critic("0").weight, before)


@pytest.mark.parametrize("change", ["network", "both"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_critics_learn_from_a_network_that_is_converted_to_another_dtype(dtype, change):
    source = convolutional()
    model = shifted(source, 0.5)
    penalty = penalty_of(model, source)
    model.to(dtype)
    if change == "both":
        penalty.to(dtype)
    for _ in range(2):
        penalty.step()
        penalty().backward()
    assert all(
        p.grad is not None and p.grad.dtype == dtype for p in (model[0].weight, model[4].weight)
    )
    assert next(penalty.critics._bank.parameters()).dtype in (torch.float32, torch.float64)
    assert all(value > 0 for value in penalty.distances.values())
