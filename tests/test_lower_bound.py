"""A certified lower bound is below the optimum, in exact arithmetic, and close to it where the answer is."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch

import kantorch
import laws
import oracle


def optimum(cost, a, b):
    """Of float tensors or rational costs, without any rounding."""
    return oracle.rational(cost, a.double().numpy(), b.double().numpy()).value


def weights(rng, n, m, dtype):
    if rng.random() < 0.5:
        return torch.full((n,), 1 / n, dtype=dtype), torch.full((m,), 1 / m, dtype=dtype)
    a, b = (torch.tensor(rng.dirichlet(np.ones(k)), dtype=dtype) for k in (n, m))
    a[0] *= rng.random() > 0.3  # a point without mass
    return a, b * (a.double().sum() / b.double().sum()).to(dtype)


def solve(method, cost, a, b):
    spread = float((cost - cost.min()).double().median()) or 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        few = {} if method == "exact" else {"max_iter": 300}
        return laws.solve(method, cost, a, b, reg=0.05 * spread, **few)


@pytest.mark.parametrize("height", [0, 1e3, 1e9, 1e12, 1e16, 1e100, 1e300])
def test_no_bound_is_above_the_optimum(method, height):
    rng = np.random.default_rng(3)
    for trial in range(60):
        n, m = (int(k) for k in rng.integers(1, 9, 2))
        n, m = (m, m) if trial % 3 == 0 else (n, m)
        cost = rng.integers(-5, 20, (n, m)) + (rng.random((n, m)) if trial % 2 else 0.0)
        if height:
            blocked = rng.random((n, m)) < 0.4
            cost[blocked] = height * (1 + rng.random())
        a, b = weights(rng, n, m, torch.float64)
        cost = torch.tensor(cost)
        result = solve(method, cost, a, b)
        assert Fraction(float(result.lower_bound)) <= optimum(cost.numpy(), a, b)


def test_no_bound_is_above_the_optimum_in_float32(method):
    rng = np.random.default_rng(4)
    for height in (1, 1e6, 1e12, 1e30):
        for _ in range(20):
            n, m = (int(k) for k in rng.integers(1, 8, 2))
            cost = torch.tensor(rng.random((n, m)), dtype=torch.float32)
            cost[torch.tensor(rng.random((n, m)) < 0.3)] *= height
            a, b = weights(rng, n, m, torch.float32)
            result = solve(method, cost, a, b)
            assert Fraction(float(result.lower_bound)) <= optimum(cost.double().numpy(), a, b)


def rational_squares(x, y):
    """|x_i - y_j|^2 as fractions over one power of two, for the oracle, which takes what float() takes."""
    return [
        [
            sum((Fraction(float(u)) - Fraction(float(v))) ** 2 for u, v in zip(p, q, strict=True))
            for q in y
        ]
        for p in x
    ]


def solved_beside_its_optimum(method, rng, x, y):
    """The answer between two clouds with random weights, and the exact optimum."""
    a, b = weights(rng, len(x), len(y), x.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        options = laws.arguments(method, 0.05) | ({} if method == "exact" else {"max_iter": 99})
        result = kantorch.solve_sample(x, y, a, b, **options)
    if method == "exact" and x.shape[1] > 1:  # of the costs as torch computes them
        cost = kantorch.costs.cost_matrix(x, y).double().numpy()
    else:
        cost = rational_squares(x, y)
    return result, optimum(cost, a, b)


def random_clouds(rng, dims, dtype):
    sizes = (int(k) for k in rng.integers(1, 8, 2))
    return (torch.tensor(rng.normal(size=(k, dims)), dtype=dtype) for k in sizes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dims", [1, 2, 5])
def test_no_bound_between_points_is_above_the_optimum(method, dims, dtype):
    rng = np.random.default_rng(5)
    for trial in range(30):
        x, y = random_clouds(rng, dims, dtype)
        if trial % 3 == 0:
            x, y = x + 1e4, y + 1e4
        result, best = solved_beside_its_optimum(method, rng, x, y)
        assert Fraction(float(result.lower_bound)) <= best


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dims", [1, 2, 5])
def test_no_bound_between_clouds_that_are_far_apart_is_above_the_optimum(method, dims, dtype):
    rng = np.random.default_rng(5)
    for _ in range(60):
        x, y = random_clouds(rng, dims, dtype)
        y = y + 10.0 ** rng.integers(1, 5)
        result, best = solved_beside_its_optimum(method, rng, x, y)
        assert Fraction(float(result.lower_bound)) <= best
        if bool(result.converged):
            assert float(result.lower_bound) >= float(best) * (1 - 1e-4) - 0.1


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_far_points_without_mass_lift_no_bound_on_a_line(metric):
    rng = np.random.default_rng(7)
    for _ in range(50):
        x, y = (torch.tensor(rng.normal(size=(5, 1))) for _ in range(2))
        a, b = (torch.tensor(rng.dirichlet(np.ones(5))) for _ in range(2))
        x[0] -= 1e8
        y[4] += 1e8 * rng.random()
        a[0] = b[4] = 0
        b = b * (a.sum() / b.sum())
        result = kantorch.solve_sample(x, y, a, b, metric=metric)
        cost = rational_squares(x, y)
        if metric == "euclidean":
            cost = [[abs(Fraction(float(p)) - Fraction(float(q))) for q in y] for p in x]
        assert Fraction(float(result.lower_bound)) <= optimum(cost, a, b)


def test_the_bound_of_an_exact_answer_is_as_close_as_its_value():
    rng = np.random.default_rng(6)
    for height in (1, 1e9, 1e30):
        for n in (3, 20, 60):
            cost = rng.random((n, n))
            cost[rng.random((n, n)) < 0.3] *= height
            result = kantorch.solve(torch.tensor(cost))
            assert 0 <= float(result.gap) <= 1e-13 * n


def test_the_bound_is_made_from_all_rows(dtype):
    # Problems of this size are worked on in blocks of rows; any of them may hold a column's cheapest cell.
    rng = np.random.default_rng(8)
    for n, m in ((500, 300), (2000, 70)):
        cost = torch.tensor(rng.random((n, m)), dtype=dtype)
        a, b = (torch.tensor(rng.dirichlet(np.ones(k)), dtype=dtype) for k in (n, m))
        result = kantorch.solve(cost, a, b, reg=0.05, tol=1e-4)
        f = result.potential_a.double()
        g = (cost.double() - f[:, None]).amin(0)
        f = (cost.double() - g).amin(1)
        b = b.double() * (a.double().sum() / b.double().sum())
        want = float((a.double() * f).sum() + (b * g).sum())
        assert float(result.lower_bound) == pytest.approx(
            want, rel=1e-12 if dtype == torch.float64 else 1e-6
        )


@pytest.mark.parametrize("largest", [1e307, 1.7e308])
def test_costs_at_the_end_of_the_range_have_a_bound(method, largest, rng):
    cost = torch.tensor(largest * rng.uniform(-1, 1, (4, 5)))
    a, b = weights(rng, 4, 5, torch.float64)
    result = solve(method, cost / 4, a, b)
    assert bool(torch.isfinite(result.lower_bound))
    assert Fraction(float(result.lower_bound)) <= optimum(cost.numpy() / 4, a, b)
