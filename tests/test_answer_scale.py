"""OPTIMAL means right at the scale of the answer itself, whatever other costs, weights and points there are."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch

import kantorch
import oracle
import problems
from kantorch import Status


def solve(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        return function(*arguments, **options)


def uniform(n, dtype):
    return torch.full((n,), 1 / n, dtype=dtype)


def faults(result, cost, a, b):
    """What is wrong with a result, in exact arithmetic; the cost may be fractions."""
    dtype = result.value.dtype
    n, m = result.plan.shape
    a, b = (
        uniform(size, dtype) if w is None else w for w, size in zip((a, b), (n, m), strict=True)
    )
    optimum = oracle.rational(cost, a.double().numpy(), b.double().numpy())
    value, bound = float(result.value), float(result.lower_bound)
    in_range = abs(optimum.value) < Fraction(torch.finfo(dtype).max)
    optimal = int(result.status) == Status.OPTIMAL
    found = []
    if optimal and not math.isfinite(value):
        found.append(f"{value} is OPTIMAL")
    elif optimal:
        # Half a unit in the last place of the dtype, of normal and of subnormal numbers.
        rounded = abs(optimum.value) * Fraction(torch.finfo(dtype).eps) / 2
        rounded += Fraction(torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps)
        error = abs(Fraction(value) - optimum.value) - rounded
        if error > Fraction(1, 10**12) * optimum.scale(cost):
            found.append(f"{value} is OPTIMAL instead of {float(optimum.value)}")
        if not float(result.marginal_error) < 1e-12:
            found.append(f"marginal error {float(result.marginal_error)}")
    if math.isnan(bound) or (in_range and bound == math.inf):
        found.append(f"bound {bound}")
    elif math.isfinite(bound) and Fraction(bound) > optimum.value:
        found.append(f"bound {bound} above {float(optimum.value)}")
    if not bool(torch.isfinite(result.plan).all()) or float(result.plan.min()) < 0:
        found.append("plan")
    if not all(bool(torch.isfinite(potential).all()) for potential in result.potentials):
        found.append("potentials")
    return found


def random_shape(rng):
    n, m = (int(k) for k in rng.integers(1, 7, 2))
    return (m, m) if rng.random() < 0.4 else (n, m)


def random_answer(rng, route):
    """A result, its exact cost and weights, and what they are; None if a cost is not finite."""
    n, m = random_shape(rng)
    dtype = torch.float32 if rng.random() < 0.3 else torch.float64
    mass, (a, b) = problems.ranged_weights(rng, n, m, dtype)
    if route == "matrix":
        name, cost = problems.ranged_cost(rng, n, m, dtype)
        if not bool(torch.isfinite(cost).all()):
            return None
        return solve(kantorch.solve, cost, a, b), cost.double().numpy(), a, b, f"{name}, {mass}"
    metric = ["sqeuclidean", "euclidean"][rng.integers(2)]
    dims = 1 if route == "line" else int(rng.integers(2, 12))
    name, x, y = problems.ranged_points(rng, n, m, dims, metric, dtype)
    cost = kantorch.costs.cost_matrix(x, y, metric=metric)
    if not bool(torch.isfinite(cost).all()):
        return None
    result = solve(kantorch.solve_sample, x, y, a, b, metric=metric)
    if route == "line":
        u, v = ([Fraction(float(p)) for p in points[:, 0]] for points in (x, y))
        exact = [[(p - q) ** 2 if metric == "sqeuclidean" else abs(p - q) for q in v] for p in u]
        return result, exact, a, b, f"{name}, {mass}"
    return result, cost.double().numpy(), a, b, f"{name}, {mass}"


@pytest.mark.parametrize("route", ["matrix", "line", "points"])
def test_no_answer_is_silently_wrong_in_any_range(route):
    rng = np.random.default_rng(11)
    for _ in range(700):
        answer = random_answer(rng, route)
        if answer is not None:
            *parts, what = answer
            assert not faults(*parts), (what, faults(*parts))


@pytest.mark.cpu  # warns
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_value_beyond_the_dtype_is_not_optimal(dtype):
    largest = torch.finfo(dtype).max
    cost = torch.full((2, 3), largest / 2, dtype=dtype)
    a, b = torch.full((2,), 3.0, dtype=dtype), torch.full((3,), 2.0, dtype=dtype)
    with pytest.warns(kantorch.ConvergenceWarning):
        assert int(kantorch.solve(cost, a, b).status) == Status.PRECISION_LIMIT
    x, y = (torch.full((k, 1), s * largest / 4, dtype=dtype) for k, s in ((2, -1), (3, 1)))
    with pytest.warns(kantorch.ConvergenceWarning):
        line = kantorch.solve_sample(x, y, a, b, metric="euclidean")
    assert int(line.status) == Status.PRECISION_LIMIT
    assert float(line.lower_bound) <= largest


def test_values_of_subnormal_costs_keep_their_digits():
    cost = torch.tensor([[1818.0], [202], [1212], [707], [1212]], dtype=torch.float64) * 5e-324
    assert float(kantorch.solve(cost).value) == 1030 * 5e-324
    a = torch.full((5,), 2.0**40, dtype=torch.float64)
    b = torch.full((1,), 5 * 2.0**40, dtype=torch.float64)
    assert float(kantorch.solve(cost, a, b).value) == float(cost.sum()) * 2.0**40


def test_rounded_weights_pay_for_no_blocked_cell():
    high = 1.3e12
    cost = torch.tensor([[high, high, 18, 19, 17, high], [0, 6, 13, 16, 4, 6]])
    result = kantorch.solve(cost)
    assert float(result.value) == pytest.approx(11, rel=1e-7)
    assert float(result.plan[cost == high].sum()) == 0


def test_tiny_costs_beside_huge_ones_are_told_apart(rng):
    for _ in range(10):
        cost = rng.random((5, 5)) * 1e-122
        cost[rng.random((5, 5)) < 0.3] = 1e285
        cost[0] = cost[:, 0] = 1e-122
        a, b = (rng.dirichlet(np.ones(5)) + np.array([1, 0, 0, 0, 0]) for _ in range(2))
        cost, a, b = map(torch.tensor, (cost, a, b / b.sum() * a.sum()))
        result = kantorch.solve(cost, a, b)
        assert not faults(result, cost.numpy(), a, b)
        assert int(result.status) == Status.OPTIMAL


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_short_ways_across_a_wide_cloud_are_optimal(weighted, dtype, rng):
    for step in (1e-2, 1e-3, 3e-4, 1e-6):
        for _ in range(3):
            x = rng.random((400, 2))
            a = torch.tensor(rng.dirichlet(np.ones(400)), dtype=dtype) if weighted else None
            cost = ((x[:, None] - x - step) ** 2).sum(-1)
            result = kantorch.solve(torch.tensor(cost, dtype=dtype), a, a)
            assert int(result.status) == Status.OPTIMAL
            assert float(result.value) == pytest.approx(2 * step**2, rel=1e-6)


def test_rewards_that_no_optimal_plan_can_use_take_no_digits(rng):
    plain = torch.tensor([[-1e15, 1], [2, 3e15]], dtype=torch.float64)
    assert float(kantorch.solve(plain).value) == 1.5
    nothing = torch.tensor([[-5.0, 0], [0, 7]], dtype=torch.float64)
    result = kantorch.solve(nothing)
    assert (float(result.value), int(result.status)) == (0, Status.OPTIMAL)
    for height in (1e6, 1e9, 1e12, 1e25, 1e40):
        for _ in range(20):
            # Who takes a reward in the first block of rows pays for it twice in the second.
            cost = rng.random((12, 12))
            cost[:6, :6] = np.where(rng.random((6, 6)) < 0.5, -height, height)
            cost[6:, 6:] = 3 * height
            result = solve(kantorch.solve, torch.tensor(cost))
            around = np.where(np.abs(cost) > 1, 1e3, cost)
            best = oracle.rational(around, np.ones(12), np.ones(12)).value / 12
            right = float(result.value) == pytest.approx(float(best), rel=1e-12)
            optimal = int(result.status) == Status.OPTIMAL
            # Rewards of more than 32 digits may hide the optimum, but then it is not said to be found.
            assert (right and optimal) if height < 1e20 else (right or not optimal)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_far_groups_on_a_line_exchange_no_rounding_errors(metric):
    far = torch.tensor([0, 0, 0, 1e150, 1e150, 1e150], dtype=torch.float64)[:, None]
    x, y = far.clone(), far.clone()
    x[:3, 0], y[:3, 0] = torch.tensor([0.0, 1, 2]), torch.tensor([0.5, 1.5, 3])
    a = torch.tensor([0.1, 0.2, 0.3, 0.2, 0.1, 0.1], dtype=torch.float64)
    b = torch.tensor([0.3, 0.1, 0.2, 0.1, 0.2, 0.1], dtype=torch.float64)
    near = kantorch.solve_sample(x[:3], y[:3], a[:3], b[:3], metric=metric)
    for result in (
        kantorch.solve_sample(x, y, a, b, metric=metric),
        kantorch.solve_sample(x, y, a, b * (1 + 1e-6), metric=metric),
    ):
        assert int(result.status) == Status.OPTIMAL
        assert float(result.value) == pytest.approx(float(near.value), rel=1e-14)
        assert 0 <= float(result.gap) <= 1e-12
    third = kantorch.solve_sample(x[[0, 1, 3]], y[[0, 0, 1, 1, 3, 4]], metric=metric)
    expected = kantorch.solve_sample(x[:2], y[[0, 0, 1, 1]], metric=metric)
    assert float(third.value) == pytest.approx(float(expected.value) * 2 / 3, rel=1e-14)


@pytest.mark.parametrize("unit", [1e-300, 1e-165, 1e-20, 1e20, 1e150])
def test_lines_of_any_size_are_proved(unit, rng):
    x, y = (torch.from_numpy(rng.normal(size=(k, 1))) * unit for k in (5, 7))
    a, b = (torch.full((k,), 1 / (k * unit) / unit, dtype=torch.float64) for k in (5, 7))
    if not bool(torch.isfinite(a).all()):  # as heavy as can be
        a, b = (torch.full((k,), 1e300 / k, dtype=torch.float64) for k in (5, 7))
    result = kantorch.solve_sample(x, y, a, b)
    assert int(result.status) == Status.OPTIMAL
    u, v = ([Fraction(float(p)) for p in points[:, 0]] for points in (x, y))
    assert not faults(result, [[(p - q) ** 2 for q in v] for p in u], a, b)


def test_potentials_beyond_float64_are_not_optimal(rng):
    limits = 0
    for _ in range(40):
        cost = torch.from_numpy((rng.random((3, 4)) * 2 - 1) * 1.79e308)
        result = solve(kantorch.solve, cost)
        f, g = result.potentials
        violation = float(((f / 4)[:, None] + g / 4 - cost / 4).max()) * 4
        if int(result.status) == Status.OPTIMAL:
            assert violation <= 1e296
        else:
            assert int(result.status) == Status.PRECISION_LIMIT
            limits += 1
    assert 0 < limits < 40
