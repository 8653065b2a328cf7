"""IPOT between points that are far from each other is as good as on their cost matrix: a constant takes no digits."""

from __future__ import annotations

import pytest
import torch

import kantorch
from kantorch.costs import cost_matrix
from kantorch.ops.distance import solved_distances

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
    # The last ones are not far apart, but their smallest cost is a few times the spread.
    pairs = [far(rng, distance) for distance in (0.0, 1e6, 1e3, 4.0, 8.0, 16.0, 32.0)]
    x, y = (torch.stack(points) for points in zip(*pairs, strict=True))
    together = kantorch.solve_sample(x, y, method="ipot")
    assert bool(together.converged.all())
    for k, pair in enumerate(pairs):
        alone = kantorch.solve_sample(*pair, method="ipot")
        for name in ("value", "plan", "n_iter", "potential_a", "marginal_error"):
            assert torch.equal(getattr(together, name)[k], getattr(alone, name)), name
        # A bound between points is lowered by what rounding the distances may cost.
        torch.testing.assert_close(together.gap[k], alone.gap, rtol=1e-6, atol=1e-10)


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
    x, y = far(rng, 1e6, n=2100, m=2000, d=2)
    with pytest.warns(kantorch.ConvergenceWarning):
        result = kantorch.solve_sample(x, y, metric="cityblock", method="ipot", max_iter=8)
    assert not bool(result.converged)


@pytest.mark.cpu  # takes Newton's method
@pytest.mark.parametrize("height", [0.0, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("constant", [2.0**9, 2.0**18, -(2.0**18)])
@pytest.mark.parametrize("shared", [False, True])
def test_padding_of_any_cost_leaves_a_constant_without_effect(height, constant, shared, rng):
    cost = torch.from_numpy(rng.random((7, 9))) + constant
    a, b = (torch.from_numpy(rng.dirichlet([1.0] * k)) for k in (7, 9))
    padded = torch.full((9, 12), height, dtype=cost.dtype)
    padded[:7, :9] = cost
    weights = [torch.nn.functional.pad(a, (0, 2)), torch.nn.functional.pad(b, (0, 3))]
    if shared:  # by problems of which one has no mass at all
        weights = [torch.stack([w, torch.zeros_like(w)]) for w in weights]
    alone = kantorch.solve(cost, a, b, method="ipot")
    result = kantorch.solve(padded, *weights, method="ipot")
    assert bool(result.converged.all())
    plan = result.plan[0] if shared else result.plan
    torch.testing.assert_close(plan[:7, :9], alone.plan, rtol=0, atol=1e-11)
    best = kantorch.solve(cost, a, b).value
    value = result.value[0] if shared else result.value
    assert abs(float(value - best)) <= 1e-7


@pytest.mark.cpu  # takes Newton's method
@pytest.mark.parametrize("metric", METRICS)
def test_padding_leaves_points_that_are_far_apart_alone(metric, rng):
    x, y = far(rng, 1e5)
    a, b = (torch.from_numpy(rng.dirichlet([1.0] * k)) for k in (7, 9))
    pad = torch.nn.functional.pad
    alone = kantorch.solve_sample(x, y, a, b, metric=metric, method="ipot")
    padded = pad(x, (0, 0, 2, 0)), pad(y, (0, 0, 3, 0)), pad(a, (2, 0)), pad(b, (3, 0))
    result = kantorch.solve_sample(*padded, metric=metric, method="ipot")
    assert bool(alone.converged)
    assert bool(result.converged)
    torch.testing.assert_close(result.plan[2:, 3:], alone.plan, rtol=0, atol=1e-8)


@pytest.mark.parametrize("power", [-36, -5, 7, 40])
def test_a_power_of_two_changes_no_plan_if_a_single_pair_has_mass(power):
    cost = torch.tensor([[9.07], [2.78]], dtype=torch.float64)
    a, b = torch.tensor([1.0, 0.0]).double(), torch.ones(1).double()
    plan, scaled = (kantorch.solve(c, a, b, method="ipot").plan for c in (cost, cost * 2.0**power))
    assert torch.equal(plan, scaled)
