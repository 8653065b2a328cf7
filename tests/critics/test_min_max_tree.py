"""Gradients of norm 1: the tree, its deep variant, and lemmas 3.2 to 3.4 where they hold."""

from __future__ import annotations

import math

import pytest
import torch

from kantorch.critics import MinMaxTree, min_max, slopes

SIZES = [
    {"dimension": 1, "units": 8},
    {"dimension": 2, "units": 1},
    {"dimension": 2, "units": 7},
    {"dimension": 3, "units": 64},
    {"dimension": 5, "units": 16, "hidden": (5, 3)},
    {"dimension": 8, "units": 32, "hidden": (8, 8), "orthogonal_map": "cayley"},
    {"dimension": 3, "units": 4, "branches": 5},
    {"dimension": 4, "units": 3, "branches": 8, "hidden": (4, 2)},
    {"dimension": 4, "units": 2, "branches": 4, "hidden": (4,), "orthogonal_map": "householder"},
]


def tree(**sizes):
    critic = MinMaxTree(**sizes).double()
    torch.nn.init.normal_(critic.bias)
    return critic


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_its_slope_is_one(sizes):
    x = 2 * torch.randn(2000, sizes["dimension"], dtype=torch.float64)
    # Rows are orthonormal up to what is left after the steps of the iteration.
    torch.testing.assert_close(
        slopes(tree(**sizes), x), torch.ones(2000).double(), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_it_does_not_expand_distances(sizes):
    x, y = torch.randn(2, 2000, sizes["dimension"], dtype=torch.float64)
    critic = tree(**sizes)
    assert ((critic(x) - critic(y)).abs() <= (x - y).norm(dim=1) * (1 + 1e-12)).all()


def test_its_slope_stays_one_while_it_is_trained():
    critic = tree(dimension=4, units=16, hidden=(4,))
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.05)
    x, y = torch.randn(2, 200, 4, dtype=torch.float64)
    for _ in range(20):
        optimizer.zero_grad()
        (critic(y).mean() - critic(x).mean()).backward()
        optimizer.step()
    assert critic(x).mean() > critic(y).mean()
    torch.testing.assert_close(slopes(critic, x), torch.ones(200).double(), atol=1e-6, rtol=0)


def test_levels_alternate_and_an_odd_one_passes():
    values = torch.tensor([[4.0, 1.0, 2.0, 3.0, 9.0], [0.0, 0.0, 0.0, 0.0, -7.0]])
    # max(min(max(4, 1), max(2, 3)), 9), and the same for the second row
    assert min_max(values).tolist() == [9.0, 0.0]
    assert min_max(torch.tensor([4.0])).item() == 4


def test_it_can_be_a_funnel():
    """max_n min_v <v, x - a_n> over many directions v is max_n -|x - a_n|."""
    centres = torch.tensor([[0.5, -2.0], [-1.0, 1.0]], dtype=torch.float64)
    angles = torch.arange(512, dtype=torch.float64) * (2 * torch.pi / 512)
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    x = 2 * torch.randn(500, 2, dtype=torch.float64)
    flat = torch.stack([((x - a) @ directions.T).amin(1) for a in centres]).amax(0)
    exact = torch.stack([-(x - a).norm(dim=1) for a in centres]).amax(0)
    torch.testing.assert_close(flat, exact, rtol=0, atol=1e-3)
    # The tree's levels alternate, so a leaf is repeated where its level has nothing to choose.
    critic = MinMaxTree(2, units=1 << 19).double()
    place = torch.arange(1 << 19)
    # Bits of a leaf's number: even ones choose by max, odd ones by min; the last by max.
    chosen = sum(((place >> (2 * k + 1)) & 1) << k for k in range(9))
    centre = centres[(place >> 18) & 1]
    with torch.no_grad():
        critic.weight.copy_(directions[chosen][None])
        critic.bias.copy_(-(centre * directions[chosen]).sum(1)[None])
    torch.testing.assert_close(critic(x[:20]), flat[:20], rtol=0, atol=1e-12)


def norm_to(point):
    return lambda x: (x - point).norm(dim=-1)


@pytest.mark.parametrize("choose", [torch.maximum, torch.minimum])
def test_the_larger_and_the_smaller_of_two_have_slope_one(choose):
    """Lemma 3.2, for strongly 1-Lipschitz functions."""
    x = torch.randn(500, 3, dtype=torch.float64)
    f, g = tree(dimension=3, units=8), norm_to(torch.tensor([1.0, 0.0, -1.0]).double())
    value = slopes(lambda z: choose(f(z), g(z)), x)
    torch.testing.assert_close(value, torch.ones(500).double(), atol=1e-9, rtol=0)


def test_the_larger_of_two_flat_functions_is_flat():
    """Lemma 3.2 fails for functions that are only 1-Lipschitz."""
    x = torch.randn(50, 3, dtype=torch.float64)
    value = slopes(lambda z: torch.maximum(0.5 * z[:, 0], 0.25 * z[:, 1]), x)
    assert (value < 0.6).all()


def test_weighted_sums_have_slope_one_on_coordinates_apart():
    """Lemma 3.3 on disjoint blocks of coordinates, and its failure on shared ones."""
    x = torch.randn(500, 5, dtype=torch.float64)
    f, g = tree(dimension=2, units=8), tree(dimension=3, units=8)
    value = slopes(lambda z: 0.6 * f(z[:, :2]) + 0.8 * g(z[:, 2:]), x)
    torch.testing.assert_close(value, torch.ones(500).double(), atol=1e-9, rtol=0)
    h = tree(dimension=2, units=8)
    shared = slopes(lambda z: 0.6 * f(z[:, :2]) + 0.8 * h(z[:, :2]), x)
    assert (shared - 1).abs().median() > 0.05
    assert shared.max() > 1.05  # not even 1-Lipschitz


def test_compositions_have_slope_one_after_orthonormal_rows():
    """Lemma 3.4 where J J^T = I, and its failure for an inner map of strongly 1-Lipschitz parts."""
    x = torch.randn(500, 4, dtype=torch.float64)
    outer = tree(dimension=2, units=8)
    rows = torch.linalg.qr(torch.randn(4, 2, dtype=torch.float64))[0].T
    value = slopes(lambda z: outer((z @ rows.T).sort(dim=1).values), x)
    torch.testing.assert_close(value, torch.ones(500).double(), atol=1e-9, rtol=0)
    selected = slopes(lambda z: outer(z[:, [3, 1]]), x)
    torch.testing.assert_close(selected, torch.ones(500).double(), atol=1e-9, rtol=0)
    parts = [tree(dimension=4, units=8), tree(dimension=4, units=8)]
    skewed = slopes(lambda z: outer(torch.stack([p(z) for p in parts], dim=1)), x)
    assert (skewed - 1).abs().median() > 0.05


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_warm_tree_does_not_expand_and_cools_to_the_cold_one(sizes):
    critic = tree(**sizes)
    x = torch.randn(500, sizes["dimension"], dtype=torch.float64)
    cold = critic(x)
    critic.temperature = 0.5
    assert slopes(critic, x).max() <= 1 + 1e-6
    for temperature in (0.1, 1e-3):
        critic.temperature = temperature
        leaves = sizes["units"] * sizes.get("branches", 1)
        # Each of log2(leaves) levels is off by at most T log 2.
        assert (critic(x) - cold).abs().max() <= temperature * math.ceil(math.log2(leaves)) * 0.7


def test_warmth_reaches_every_unit():
    critic = tree(dimension=2, units=64)
    x = torch.randn(20, 2, dtype=torch.float64)
    critic(x).sum().backward()
    assert (critic.bias.grad == 0).any()
    critic.temperature, critic.bias.grad = 1.0, None
    critic(x).sum().backward()
    assert (critic.bias.grad > 0).all()


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_anchored_units_pass_through_the_points(sizes):
    critic = tree(**sizes)
    point = torch.randn(1, sizes["dimension"], dtype=torch.float64)
    critic.anchor(point)  # there is only one to draw
    assert critic(point).abs().max() < 1e-12


def test_anchored_units_are_reached_by_more_samples():
    far = 20 + torch.randn(500, 2, dtype=torch.float64)
    critic = tree(dimension=2, units=64)

    def reached():
        critic.zero_grad()
        critic(far).sum().backward()
        return (critic.bias.grad != 0).sum().item()

    before = reached()
    critic.anchor(far, torch.Generator().manual_seed(0))
    assert reached() > 2 * before


def test_values_keep_the_leading_dimensions():
    critic = tree(dimension=3, units=4, branches=2, hidden=(3,))
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    torch.testing.assert_close(critic(x)[1, 4], critic(x[1, 4]))
    assert critic(x).shape == (2, 5)
    assert critic(x[0, 0]).shape == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dimension": 0}, "dimension must be an integer >= 1"),
        ({"dimension": 2, "units": 0}, "units must be an integer >= 1"),
        ({"dimension": 2, "branches": 0}, "branches must be an integer >= 1"),
        ({"dimension": 2, "hidden": (3,)}, r"hidden\[0\] must be at most 2"),
        ({"dimension": 4, "hidden": (2, 3)}, r"hidden\[1\] must be at most 2"),
        ({"dimension": 4, "hidden": (2, 0)}, r"hidden\[1\] must be an integer"),
        ({"dimension": 4, "hidden": (2,), "orthogonal_map": "qr"}, "orthogonal_map must be"),
    ],
)
def test_faults_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        MinMaxTree(**arguments)


def test_other_points_are_an_error():
    with pytest.raises(ValueError, match=r"x must have shape \(.., 3\), got \(4, 2\)"):
        MinMaxTree(3)(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"points must have shape \(N, 3\), got \(0, 3\)"):
        MinMaxTree(3).anchor(torch.zeros(0, 3))


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_nan_among_the_values_is_the_result(k, temperature):
    clean = torch.randn(k, k)
    spoiled = torch.where(torch.eye(k, dtype=torch.bool), math.nan, clean)
    assert min_max(spoiled, temperature).isnan().all()
    assert min_max(clean, temperature).isfinite().all()
    assert min_max(torch.full((k,), math.nan), temperature).isnan()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("temperature", [5e-324, 1e-310, 1e-300, 1e-50, 1e-40, 1e-38, 1e-7])
@pytest.mark.parametrize("size", [1.0, 100.0])
def test_a_temperature_however_small_gives_nearly_the_minimum_of_maxima(size, temperature, dtype):
    values = (torch.tensor([[1.0, 5.0, 2.0, 3.0, -4.0]], dtype=dtype) * size).requires_grad_()
    result = min_max(values, temperature)
    (gradient,) = torch.autograd.grad(result.sum(), values)
    hard = min_max(values)
    assert torch.equal(result, hard)
    assert torch.equal(gradient, torch.autograd.grad(hard.sum(), values)[0])


@pytest.mark.parametrize("temperature", [1e-50, 1e-3, 1.0])
def test_infinite_values_are_compared_at_any_temperature(temperature):
    values = torch.tensor([[math.inf, 1.0], [-math.inf, 1.0], [-math.inf, -math.inf]])
    assert min_max(values, temperature).tolist() == [math.inf, 1.0, -math.inf]


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e-3, 0.5])
def test_second_derivatives_hold_at_any_temperature(temperature):
    values = torch.tensor([1.0, 5.0, 2.0, 3.0, -4.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda z: min_max(z, temperature), values)


def test_a_temperature_that_the_dtype_cannot_hold_is_refused():
    with pytest.raises(ValueError, match=r"temperature must be at most .* in torch\.float32"):
        min_max(torch.ones(4), 1e39)
    assert min_max(torch.ones(4), 1e37).isfinite()


@pytest.mark.parametrize("temperature", [-1.0, math.nan, math.inf])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature must be finite and >= 0, got {temperature}"):
        min_max(torch.ones(4), temperature)
    critic = MinMaxTree(2)
    critic.temperature = temperature
    with pytest.raises(ValueError, match="temperature must be finite"):
        critic(torch.ones(1, 2))


def test_no_values_are_refused():
    with pytest.raises(ValueError, match=r"values must have shape .* got \(3, 0\)"):
        min_max(torch.empty(3, 0))
