"""Penalties on slopes against closed forms and finite differences; clipping and spectral norms."""

from __future__ import annotations

import pytest
import torch

from kantorch.critics import clip_weights, gradient_penalty, lipschitz_penalty, mlp, slopes

PENALTIES = [gradient_penalty, lipschitz_penalty]


def linear(slope):
    return lambda x: x @ torch.tensor([slope, 0.0], dtype=x.dtype)


@pytest.mark.parametrize("slope", [0.0, 0.25, 1.0, 3.0])
def test_a_linear_critic_has_one_slope(slope):
    x, y = torch.randn(2, 20, 2)
    assert gradient_penalty(linear(slope), x, y).item() == pytest.approx((slope - 1) ** 2)
    wanted = max(slope - 1, 0) ** 2
    assert lipschitz_penalty(linear(slope), x, y).item() == pytest.approx(wanted)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_it_looks_only_between_the_samples(penalty):
    """A critic that is steep away from the segment is not punished, one that is steep on it is."""
    x, y = torch.zeros(200, 1), torch.ones(200, 1)
    generator = torch.Generator().manual_seed(0)

    def steep(low, high):
        return lambda z: z[..., 0] + 5 * (z[..., 0].clamp(low, high) - low)

    assert penalty(steep(1.5, 2.5), x, y, generator).item() == 0
    half = penalty(steep(0.5, 2.5), x, y, generator).item()
    assert half == pytest.approx(12.5, rel=0.2)  # 5^2 on half of it


@pytest.mark.parametrize("penalty", PENALTIES)
def test_its_derivative_is_that_of_finite_differences(penalty):
    critic = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    critic = critic.double()
    with torch.no_grad():
        critic[2].weight.mul_(4)  # slopes above 1 as well as below
    x, y = torch.randn(2, 40, 3, dtype=torch.float64)

    def value():
        return penalty(critic, x, y, torch.Generator().manual_seed(3))

    value().backward()
    weight = critic[0].weight
    direction, step = torch.randn_like(weight), 1e-6
    with torch.no_grad():
        weight.add_(step * direction)
        above = value().item()
        weight.sub_(2 * step * direction)
        below = value().item()
    slope = (weight.grad * direction).sum().item()
    assert slope != 0
    assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_it_is_finite_where_the_critic_is_flat(penalty):
    critic = mlp(2, (4,))
    with torch.no_grad():
        critic[0].bias.fill_(-100)  # every unit is off
    penalty(critic, *torch.randn(2, 5, 2)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in critic.parameters())


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_generator_decides_the_places(penalty):
    critic = mlp(2, (8,))
    with torch.no_grad():
        critic[2].weight.mul_(20)  # slopes above 1
    x, y = torch.randn(2, 30, 2)
    draws = [penalty(critic, x, y, torch.Generator().manual_seed(s)).item() for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("penalty", PENALTIES)
def test_samples_must_be_paired(penalty):
    with pytest.raises(ValueError, match=r"y must have the shape of x, \(3, 2\), got \(4, 2\)"):
        penalty(linear(1.0), torch.zeros(3, 2), torch.zeros(4, 2))


def test_slopes_need_no_gradients_around_them():
    with torch.no_grad():
        assert slopes(linear(2.0), torch.zeros(3, 2)).tolist() == [2, 2, 2]


def test_clipped_weights_are_in_the_box():
    critic = mlp(3, (16, 16))
    with torch.no_grad():
        critic[0].bias[0] = 7
    small = critic[2].weight.detach().clone().clamp(-0.04, 0.04)
    clip_weights(critic, 0.04)
    assert torch.equal(critic[2].weight, small)
    assert all(p.abs().max() <= 0.04 for p in critic.parameters())
    assert critic[0].bias[0] == torch.tensor(0.04)
    for bound in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="bound must be finite and > 0"):
            clip_weights(critic, bound)


def test_spectral_norms_bound_the_slope():
    critic = mlp(3, (16, 16), spectral_steps=5)
    for _ in range(30):
        critic(torch.randn(4, 3))  # each call takes power iterations
    assert slopes(critic, torch.randn(500, 3)).max() <= 1 + 1e-3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mlp(0, (4,)), "dimension must be an integer >= 1"),
        (lambda: mlp(2, (4, 0)), r"hidden\[1\] must be an integer >= 1"),
        (lambda: mlp(2, (4,), 0), "outputs must be an integer >= 1"),
        (lambda: mlp(2, (4,), spectral_steps=0), "spectral_steps must be an integer >= 1"),
    ],
)
def test_faults_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_slopes_and_penalties_are_computed_whatever_the_mode(mode):
    critic, x, y = mlp(3, (8,)), torch.randn(6, 3), torch.randn(6, 3)
    expected = slopes(critic, x)
    wanted = gradient_penalty(critic, x, y, torch.Generator().manual_seed(0))
    with mode():
        assert torch.equal(slopes(critic, x.clone()), expected)
        found = gradient_penalty(critic, x.clone(), y, torch.Generator().manual_seed(0))
        assert torch.equal(found, wanted)
