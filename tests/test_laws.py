"""Every method on every kind of problem: the definitions of all fields hold, and the answer is the known one."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import kantorch
import laws
from problems import catalogue, planted_tree

PROBLEMS = catalogue()


def solve(problem, method, **options):
    span = problem.span or 1.0
    if method == "sinkhorn":
        options = {"reg": 0.05 * span, **options}
    if method == "ipot":
        options = {"max_iter": 3000, "tol": 1e-3, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        result = kantorch.solve(problem.cost, problem.a, problem.b, method=method, **options)
    return result, options


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_definitions_hold(problem, method, dtype, device):
    problem = problem.to(dtype, device)
    result, options = solve(problem, method)
    laws.check(
        result,
        problem.cost,
        problem.a,
        problem.b,
        method=method,
        reg=options.get("reg"),
        tol=options.get("tol"),
    )


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_entropy_value_is_defined_by_the_same_potentials(problem, dtype):
    problem = problem.to(dtype)
    result, options = solve(problem, "sinkhorn", reg_type="entropy")
    laws.check(
        result,
        problem.cost,
        problem.a,
        problem.b,
        method="sinkhorn",
        reg=options["reg"],
        reg_type="entropy",
    )


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_exact_value_is_the_known_one(problem, dtype, device):
    cast = problem.to(dtype, device)
    result = kantorch.solve(cast.cost, cast.a, cast.b)
    # float64: rounding of n m products. float32: also the rounding of the given costs and weights.
    atol = 1e-13 if dtype == torch.float64 or problem.integer else 2e-6
    got = float(result.value)
    if dtype == torch.float32:
        atol = max(atol, 2e-7)  # the answer itself is rounded
    assert abs(got - problem.value) <= atol * problem.scale * problem.mass
    assert result.status == kantorch.Status.OPTIMAL


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_lower_bound_is_below_the_known_value(problem, method):
    result, _ = solve(problem, method)
    slack = 1e-12 * problem.scale * problem.mass
    assert float(result.lower_bound) <= problem.value + slack
    if method == "exact":
        assert float(result.lower_bound) >= problem.value - slack


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.plan is not None], ids=repr)
def test_exact_plan_is_the_known_one(problem):
    plan = kantorch.solve(problem.cost, problem.a, problem.b).plan
    torch.testing.assert_close(plan, problem.plan, rtol=0, atol=1e-12 * max(problem.mass, 1))


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.potential_a is not None], ids=repr)
def test_exact_potentials_are_the_known_ones_up_to_a_constant(problem):
    result = kantorch.solve(problem.cost, problem.a, problem.b)
    shift = (result.potential_a - problem.potential_a)[0]
    atol = 1e-12 * problem.scale
    torch.testing.assert_close(result.potential_a - shift, problem.potential_a, rtol=0, atol=atol)
    torch.testing.assert_close(result.potential_b + shift, problem.potential_b, rtol=0, atol=atol)


@pytest.mark.parametrize("beta", [0.02, 0.1, 0.5])
def test_ipot_reaches_the_optimum_for_any_proximal_step(beta, rng):
    problem = planted_tree(rng, 6, 9)
    result = kantorch.solve(
        problem.cost, problem.a, problem.b, method="ipot", beta=beta, tol=1e-4, max_iter=20000
    )
    assert result.converged
    # tol bounds the gap by tol x span x mass, and the marginal error adds as much.
    assert abs(float(result.value) - problem.value) <= 2e-4 * problem.span * problem.mass


def test_sinkhorn_approaches_the_optimum_as_reg_vanishes(rng):
    problem = planted_tree(rng, 6, 9)
    errors = []
    for reg in (1.0, 0.1, 0.01):
        result = kantorch.solve(problem.cost, problem.a, problem.b, reg=reg)
        errors.append(float(result.value_linear) - problem.value)
    assert errors[0] > errors[1] > errors[2] > -1e-6
    # The entropic bias is at most reg x mass x log of the number of cells.
    assert errors[2] <= 0.01 * problem.mass * np.log(54)


def test_uniform_weights_are_the_default(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 6)))
    a, b = (
        torch.full((4,), 1 / 4, dtype=torch.float64),
        torch.full((6,), 1 / 6, dtype=torch.float64),
    )
    options = {"max_iter": 500, "tol": 0.0} if method == "ipot" else {}
    laws.assert_same_bits(
        laws.solve(method, cost, **options), laws.solve(method, cost, a, b, **options)
    )


def test_weights_need_not_have_mass_one(method, rng):
    problem = planted_tree(rng, 5, 7)
    options = {"max_iter": 500, "tol": 0.0} if method == "ipot" else {}
    one = laws.solve(method, problem.cost, problem.a, problem.b, **options)
    eight = laws.solve(method, problem.cost, 8 * problem.a, 8 * problem.b, **options)
    torch.testing.assert_close(eight.plan, 8 * one.plan, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(eight.value_linear, 8 * one.value_linear, rtol=1e-7, atol=1e-9)


def test_swapping_the_sides_transposes_the_plan(rng):
    problem = planted_tree(rng, 7, 5)
    for options in ({}, {"reg": 0.3, "tol": 1e-12}):
        there = kantorch.solve(problem.cost, problem.a, problem.b, **options)
        back = kantorch.solve(problem.cost.T, problem.b, problem.a, **options)
        torch.testing.assert_close(back.plan, there.plan.T, rtol=0, atol=1e-10)
        torch.testing.assert_close(back.value, there.value, rtol=1e-10, atol=1e-10)
