"""IPOT at the end of the range: right, or a status that says so, and never a number that is not finite."""

from __future__ import annotations

import warnings

import pytest
import torch

import kantorch
from kantorch import Status

DOUBLE = torch.float64
COST = torch.tensor([[1.0, -0.3, -1.0], [-1.0, 1.0, 0.5]], dtype=DOUBLE)


def solve(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        return kantorch.solve(*arguments, method="ipot", **options)


def require_finite(result):
    for name in ("value", "plan", "potential_a", "potential_b", "marginal_a", "marginal_error"):
        assert bool(torch.isfinite(getattr(result, name)).all()), name


@pytest.mark.parametrize("options", [{}, {"tol": 0.0, "max_iter": 100}], ids=["tol", "fixed"])
@pytest.mark.parametrize("size", [1e300, 1e307, 8e307, 1.2e308])
def test_costs_at_the_end_of_the_range_are_solved(size, options):
    result, unit = (solve(COST * s, **options) for s in (size, 1.0))
    require_finite(result)
    torch.testing.assert_close(result.plan, unit.plan, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result.value / size, unit.value, rtol=1e-9, atol=0)
    assert int(result.status) == int(unit.status)


def test_potentials_beyond_the_range_are_at_the_limit():
    result = solve(COST * 1.7e308)
    require_finite(result)
    assert int(result.status) == Status.PRECISION_LIMIT
    assert float(result.value) / 1.7e308 == pytest.approx(float(solve(COST).value), rel=1e-9)


def test_the_largest_symmetric_costs_have_the_value_of_the_exact_solver():
    cost = torch.tensor([[1.7e308, -1.7e308], [-1.7e308, 1.7e308]], dtype=DOUBLE)
    result = solve(cost)
    require_finite(result)
    assert bool(result.converged)
    assert float(result.value) == pytest.approx(-1.7e308, rel=1e-8)


@pytest.mark.parametrize("cost", [1e250, 1e290, 1e300])
@pytest.mark.parametrize("mass", [1e-20, 1e-3, 1.0])
def test_large_costs_of_little_mass_have_a_finite_value(cost, mass):
    matrix = torch.tensor([[0, -cost], [-cost, 0]], dtype=DOUBLE)
    a = torch.full((2,), mass / 2, dtype=DOUBLE)
    result = solve(matrix, a, a)
    require_finite(result)
    assert bool(result.converged)
    assert float(result.value) == pytest.approx(-cost * mass, rel=1e-8)


@pytest.mark.parametrize("size", [1e150, 3e153, 5e153])
def test_points_at_the_end_of_the_range_are_right_or_at_the_limit(size):
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.2, 0.3]], dtype=DOUBLE)
    y = torch.tensor([[0.1, -1.0], [1.0, 0.7]], dtype=DOUBLE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        result, unit = (kantorch.solve_sample(x * s, y * s, method="ipot") for s in (size, 1.0))
    require_finite(result)
    assert int(result.n_iter) <= 2000
    if bool(result.converged):
        torch.testing.assert_close(result.value / size**2, unit.value)
    else:
        assert int(result.status) == Status.PRECISION_LIMIT


@pytest.mark.parametrize("mass", [1e-300, 1e308])
def test_a_mass_whose_plan_has_no_exponents_ends_soon(mass):
    a, b = (torch.full((k,), mass / k, dtype=DOUBLE) for k in COST.shape)
    result = solve(COST, a, b)
    require_finite(result)
    assert int(result.n_iter) <= 2000
    if bool(result.converged):  # where exponentials are not clamped
        assert float(result.value) == pytest.approx(mass * float(solve(COST).value), rel=1e-7)
    else:
        assert int(result.status) == Status.PRECISION_LIMIT
