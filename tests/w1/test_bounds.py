"""Lemma 3.5: the bounds between sets of points, their estimates, and what they cost."""

from __future__ import annotations

import pytest
import torch

import kantorch
from kantorch.w1 import bounds


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_they_enclose_the_exact_distance_between_the_points(dimension):
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(40, dimension, dtype=torch.float64, generator=generator)
        y = 0.5 + 1.5 * torch.randn(60, dimension, dtype=torch.float64, generator=generator)
        w1 = kantorch.solve_sample(x, y, metric="euclidean").value.item()
        lower, upper = bounds(x, y, unbiased=False)
        assert 0 < lower <= w1 <= upper


def test_they_are_means_of_distances():
    x, y = torch.randn(7, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    between = torch.cdist(x, y).mean()
    within = (torch.cdist(x, x).sum() / (7 * 6) + torch.cdist(y, y).sum() / (5 * 4)) / 2
    assert bounds(x, y) == pytest.approx(((between - within).item(), between.item()))


def test_they_meet_where_both_sides_are_points():
    x, y = torch.zeros(3, 2), torch.tensor([[3.0, 4.0]]).expand(4, 2)
    assert bounds(x, y) == bounds(x, y, unbiased=False) == (5.0, 5.0)


def test_the_estimates_have_no_bias():
    """Of N(0, 1) and N(0, 1): E^2 = 0 and I = 2 / sqrt(pi)."""
    lower, upper = 0.0, 0.0
    for seed in range(400):
        x, y = torch.randn(2, 8, 1, generator=torch.Generator().manual_seed(seed))
        low, high = bounds(x, y)
        lower, upper = lower + low / 400, upper + high / 400
    assert lower == pytest.approx(0, abs=0.02)
    assert upper == pytest.approx(2 / torch.pi**0.5, rel=0.02)


def test_rows_are_summed_in_parts():
    """More points than a part holds give the sums of all."""
    x, y = torch.randn(2500, 2, dtype=torch.float64), torch.randn(3000, 2, dtype=torch.float64)
    whole = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").mean().item()
    assert bounds(x, y).upper == pytest.approx(whole, rel=1e-12)


def test_close_points_far_from_the_origin_lose_no_digits():
    x = 1e6 + torch.rand(50, 3, dtype=torch.float64)
    y = x + torch.tensor([1e-3, 0, 0], dtype=torch.float64)
    origin = bounds(x - 1e6, y - 1e6)
    assert bounds(x, y) == pytest.approx(origin, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (torch.zeros(1, 2), torch.zeros(3, 2), r"x must have shape \(n, D\) with n >= 2"),
        (torch.zeros(3, 2), torch.zeros(1, 2), "y must have shape"),
        (torch.zeros(3), torch.zeros(3, 2), "x must have shape"),
        (torch.zeros(3, 2), torch.zeros(3, 4), "as many coordinates"),
    ],
)
def test_faults_are_named(x, y, words):
    with pytest.raises(ValueError, match=words):
        bounds(x, y)
