"""IPOT between points that are far from each other is as good as on their cost matrix: a constant takes no digits."""

from __future__ import annotations

import pytest
import torch

import kantorch
from kantorch.costs import cost_matrix
from kantorch.ops.distance_matrix import solved_distances

METRICS = ["sqeuclidean", "euclidean", "cityblock", "chebyshev"]


def far(rng, distance, n=7, m=9, d=3):
    x, y = (torch.from_numpy(rng.normal(size=(k, d))) for k in (n, m))
    return x, y + distance


@pytest.mark.cpu  # takes Newton's method
@pytest.mark.parametrize("options", [{}, {"tol": 0.0, "max_iter": 200}], ids=["tol", "fixed"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_distance_between_the_clouds_takes_no_digits(metric, options, rng):
    x, y = far(rng, 1e5)
    cost = solved_distances(x, y, metric)
    points = kantorch.solve_sample(x, y, metric=metric, method="ipot", **options)
    matrix = kantorch.solve(cost, method="ipot", **options)
    for name in ("value", "plan", "gap", "marginal_error", "status", "n_iter"):
        assert torch.equal(getattr(points, name), getattr(matrix, name)), name
    # It holds for the distances, not for what they were rounded to.
    below = float(matrix.lower_bound - points.lower_bound)
    assert 0 < below <= 16 * 2.0**-53 * float(matrix.lower_bound)
    if not options:
        assert bool(points.converged)
        spread = float(cost.max() - cost.min())
        assert abs(float(points.value - kantorch.solve(cost).value)) <= 1e-8 * spread


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_reach_points_that_are_far_apart(metric, rng):
    x, y = (p.requires_grad_() for p in far(rng, 1e5))
    result = kantorch.solve_sample(x, y, metric=metric, method="ipot")
    expected = torch.autograd.grad((cost_matrix(x, y, metric=metric) * result.plan).sum(), (x, y))
    for one, other in zip(torch.autograd.grad(result.value, (x, y)), expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.cpu  # takes Newton's method
def test_problems_of_a_batch_are_solved_as_alone_if_only_some_are_far_apart(rng):
    pairs = [far(rng, distance) for distance in (0.0, 1e6, 1e3)]
    x, y = (torch.stack(points) for points in zip(*pairs, strict=True))
    together = kantorch.solve_sample(x, y, method="ipot")
    assert bool(together.converged.all())
    for k, pair in enumerate(pairs):
        alone = kantorch.solve_sample(*pair, method="ipot")
        for name in ("value", "plan", "n_iter", "potential_a", "marginal_error"):
            assert torch.equal(getattr(together, name)[k], getattr(alone, name)), name
        # A bound between points is lowered by what rounding the distances may cost.
        torch.testing.assert_close(together.gap[k], alone.gap, rtol=1e-6, atol=1e-12)


@pytest.mark.cpu  # raises
def test_bad_points_are_named_where_others_are_far_apart(rng):
    pairs = [far(rng, distance) for distance in (0.0, 1e6)]
    x, y = (torch.stack(points) for points in zip(*pairs, strict=True))
    x[0, 3, 1] = torch.nan
    with pytest.raises(ValueError, match=r"x must be finite: x\[0, 3, 1\] = nan"):
        kantorch.solve_sample(x, y, method="ipot")


@pytest.mark.cpu  # takes Newton's method
@pytest.mark.parametrize("distance", [0.0, 5.0, 30.0, 1e3, 1e5])
def test_converged_means_a_gap_within_tol_on_both_sides(distance, rng):
    x, y = far(rng, distance)
    cost = cost_matrix(x, y)
    spread = float(cost.max() - cost.min())
    for tol in (1e-3, 1e-5, 1e-8):
        result = kantorch.solve_sample(x, y, method="ipot", tol=tol)
        assert bool(result.converged)
        assert abs(float(result.gap)) <= (1 + 1e-6) * tol * spread


@pytest.mark.cpu  # warns
def test_streamed_points_that_are_far_apart_are_not_said_to_converge(rng):
    x, y = far(rng, 1e6, n=1100, m=1000, d=2)
    with pytest.warns(kantorch.ConvergenceWarning):
        result = kantorch.solve_sample(x, y, metric="cityblock", method="ipot", max_iter=8)
    assert not bool(result.converged)
