"""Pairs of known W1: the plan is optimal, the potential dual, and the published table holds."""

from __future__ import annotations

import math

import pytest
import torch

import kantorch
from kantorch.critics import MinMaxTree, mlp
from kantorch.w1 import FunnelPair, NetworkPair
from kantorch.w1.published import DIMENSIONS, TRUE_W1

PAIRS = {
    "published": lambda: FunnelPair.published(2, 4),
    "many funnels": lambda: FunnelPair.published(4, 64),
    "drawn": lambda: FunnelPair.draw(3, 5, seed=1),
    "a line": lambda: FunnelPair.draw(1, 3, seed=2),
    "network": lambda: NetworkPair.draw(2),
    "network, half the way": lambda: NetworkPair(MinMaxTree(5, 16), 5, share=0.5, reach=1.0),
    "deep network": lambda: NetworkPair(MinMaxTree(4, 16, hidden=(4,)), 4),
}


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def plan(pair, n, generator):
    x, y = pair.plan(n, generator)
    assert x.shape == y.shape == (n, pair.dimension)
    assert x.dtype == y.dtype == torch.float32
    return x.double(), y.double()


def test_the_potential_falls_by_the_length_of_every_move(pair, generator):
    """Then the plan is optimal, for any 1-Lipschitz potential."""
    x, y = plan(pair, 2000, generator)
    length = (x - y).norm(dim=1)
    assert length.mean() > 0.05
    fall = pair.potential(x) - pair.potential(y)
    torch.testing.assert_close(fall, length, rtol=0, atol=1e-6)  # of samples in float32


def test_the_potential_does_not_expand_distances(pair, generator):
    x, y = plan(pair, 2000, generator)
    z = pair.q(2000, generator).double()
    for one, other in ((x, z), (y, z), (x, y)):
        difference = (pair.potential(one) - pair.potential(other)).abs()
        assert (difference <= (one - other).norm(dim=1) + 1e-6).all()


def test_the_gradient_is_that_of_the_potential(pair, generator):
    x, y = plan(pair, 500, generator)
    if isinstance(pair, FunnelPair):
        x = y  # P gathers at the centres, which are kinks
    direction = torch.nn.functional.normalize(torch.randn(x.shape, dtype=x.dtype), dim=1)
    step = 1e-6
    slope = (pair.potential(x + step * direction) - pair.potential(x - step * direction)) / (
        2 * step
    )
    gradient = pair.gradient(x)
    torch.testing.assert_close(gradient.norm(dim=1), torch.ones(500).double(), atol=1e-6, rtol=0)
    wrong = ((gradient * direction).sum(1) - slope).abs() > 1e-4
    assert wrong.double().mean() <= 0.01  # a kink within the step


def test_w1_is_what_both_sides_of_the_duality_say(pair, generator):
    w1 = pair.w1(1 << 14, seed=1)
    x, y = pair.p(1 << 14, generator).double(), pair.q(1 << 14, generator).double()
    f, g = pair.potential(x), pair.potential(y)
    error = math.hypot(w1.standard_error, ((f.var() + g.var()) / (1 << 14)).sqrt().item())
    assert abs((f.mean() - g.mean()).item() - w1.value) < 4 * error
    assert pair.w1(1 << 14, seed=1) == w1 != pair.w1(1 << 14, seed=2)


def test_the_samples_of_p_and_q_are_those_of_the_plan(pair, generator):
    """Both samplers and the plan draw the same laws: W1 between them is that of two samples."""
    x, y = plan(pair, 500, generator)
    for drawn, moved in ((pair.p, x), (pair.q, y)):
        one, two = drawn(500, generator).double(), drawn(500, generator).double()
        noise = kantorch.solve_sample(one, two, metric="euclidean").value
        assert kantorch.solve_sample(one, moved, metric="euclidean").value < 1.5 * noise


def test_the_plan_of_samples_is_the_exact_one(pair, generator):
    """On the sampled pairs themselves no plan is shorter."""
    x, y = plan(pair, 300, generator)
    exact = kantorch.solve_sample(x, y, metric="euclidean").value.item()
    assert exact == pytest.approx((x - y).norm(dim=1).mean().item(), abs=1e-6)


@pytest.mark.parametrize("funnels", TRUE_W1)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_published_table_holds(dimension, funnels):
    """Within four standard errors of both: theirs is a mean over 4096 samples, too."""
    count = 1 << 13
    w1 = FunnelPair.published(dimension, funnels).w1(count)
    published = TRUE_W1[funnels][DIMENSIONS.index(dimension)]
    theirs = w1.standard_error * math.sqrt(count / 4096)
    assert abs(w1.value - published) < 4 * math.hypot(w1.standard_error, theirs) + 5e-4


def test_the_pair_with_two_coordinates_and_four_funnels():
    """0.8213 +- 0.0003 from two million samples of another program."""
    w1 = FunnelPair.published(2, 4).w1(1 << 17)
    assert w1.value == pytest.approx(0.8213, abs=4 * math.hypot(w1.standard_error, 0.0003))


def test_one_funnel_on_a_line_has_a_closed_form():
    """E t - t^power = 1/2 - 1/(power + 1) for t uniform on [0, 1]."""
    pair = FunnelPair(torch.zeros(1, 1), torch.zeros(1), box=1.0, power=8.0)
    w1 = pair.w1(1 << 16)
    assert abs(w1.value - (1 / 2 - 1 / 9)) < 4 * w1.standard_error


def test_points_stay_in_the_box_and_in_their_funnel(generator):
    pair = FunnelPair.published(4, 16)
    _, y = plan(pair, 2000, generator)
    moved = pair.move(y)
    assert moved.abs().max() <= 2.5
    centre = pair.gradient(y)
    torch.testing.assert_close(pair.gradient(moved), centre, rtol=0, atol=1e-6)
    assert torch.equal(pair.move(pair.centres), pair.centres)  # the centres do not move


def test_samplers_leave_torchs_generator_alone(pair, generator):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    pair.p(5, generator), pair.q(5, generator), pair.plan(5, generator), pair.w1(10)
    FunnelPair.draw(2, 3)
    NetworkPair.draw(2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FunnelPair(torch.zeros(2, 3), torch.zeros(3)), r"\(N, D\) and \(N,\)"),
        (lambda: FunnelPair(torch.zeros(2), torch.zeros(2)), r"\(N, D\) and \(N,\)"),
        (lambda: FunnelPair(3 * torch.eye(2), torch.zeros(2)), r"centres\[0, 0\] = 3.0"),
        (lambda: FunnelPair(torch.zeros(1, 1), torch.zeros(1), power=0.5), "power must be"),
        (lambda: FunnelPair.published(3, 4), "dimension must be"),
        (lambda: FunnelPair.published(2, 5), "funnels must be"),
        (lambda: NetworkPair(MinMaxTree(2), 2, reach=0.0), "reach must be"),
        (lambda: NetworkPair(MinMaxTree(2), 2, share=1.5), "share must be"),
        (lambda: NetworkPair(mlp(2, (8,)), 2), "network must have slope 1"),
    ],
)
def test_faults_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_heights_of_funnels_are_finite():
    with pytest.raises(ValueError, match=r"heights must be finite: heights\[1\] = nan"):
        FunnelPair(torch.zeros(2, 2), torch.tensor([0.0, float("nan")]))
