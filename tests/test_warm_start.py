"""`potentials_init` saves iterations and changes no answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import kantorch
import laws
import problems


def test_optimal_potentials_leave_little_to_do(rng):
    problem = problems.planted_float(rng, 40, 40)
    for extra in ({}, {"reg": 0.05}):
        cold = kantorch.solve(problem.cost, problem.a, problem.b, **extra)
        warm = kantorch.solve(
            problem.cost, problem.a, problem.b, potentials_init=cold.potentials, **extra
        )
        torch.testing.assert_close(warm.value, cold.value, rtol=1e-8, atol=1e-10)
        assert int(warm.n_iter) < int(cold.n_iter)


def test_any_finite_start_gives_the_exact_optimum(rng):
    problem = problems.planted_tree(rng, 12, 9)
    starts = [
        (torch.zeros(12), torch.zeros(9)),
        (torch.from_numpy(rng.normal(size=12)) * 1e3, torch.from_numpy(rng.normal(size=9)) * 1e3),
        (torch.full((12,), 1e6), torch.full((9,), 1e6)),
        (problem.potential_a + 7, problem.potential_b - 7),
    ]
    for f, g in starts:
        result = kantorch.solve(
            problem.cost, problem.a, problem.b, potentials_init=(f.double(), g.double())
        )
        laws.check(result, problem.cost, problem.a, problem.b, method="exact")
        assert result.status == kantorch.Status.OPTIMAL
        torch.testing.assert_close(result.plan, problem.plan, rtol=0, atol=1e-12 * problem.mass)


@pytest.mark.parametrize("height", [0.0, 1e-3, 1.0, 1e3, 1e300])
@pytest.mark.parametrize("n", [2, 7, 40, 130])
def test_any_finite_start_gives_the_optimal_assignment(n, height, dtype, rng):
    for cost in (rng.uniform(size=(n, n)), rng.integers(0, 4, size=(n, n)), np.ones((n, n))):
        cost = torch.from_numpy(cost).to(dtype)
        start = tuple(torch.from_numpy(height * rng.normal(size=n)) for _ in range(2))
        result = kantorch.solve(cost, potentials_init=start)
        assert result.status == kantorch.Status.OPTIMAL
        rows, columns = linear_sum_assignment(cost.double())
        assert float(result.value) == pytest.approx(
            float(cost.double()[rows, columns].mean()),
            rel=1e-6 if dtype == torch.float32 else 1e-12,
        )


def test_optimal_potentials_of_an_assignment_leave_little_to_do(rng):
    cost = torch.from_numpy(rng.uniform(size=(300, 300)))
    cold = kantorch.solve(cost)
    nearby = cost + 1e-4 * torch.from_numpy(rng.uniform(size=(300, 300)))
    warm = kantorch.solve(nearby, potentials_init=cold.potentials)
    rows, columns = linear_sum_assignment(nearby)
    assert float(warm.value) == pytest.approx(float(nearby[rows, columns].mean()), rel=1e-12)
    assert int(warm.n_iter) < int(cold.n_iter) / 2


@pytest.mark.parametrize("height", [1.0, 1e3])
def test_any_finite_start_gives_the_sinkhorn_solution(height, rng):
    problem = problems.planted_tree(rng, 12, 9)
    cold = kantorch.solve(problem.cost, problem.a, problem.b, reg=0.2, tol=1e-12)
    start = tuple(height * torch.from_numpy(rng.normal(size=k)) for k in (12, 9))
    warm = kantorch.solve(
        problem.cost, problem.a, problem.b, reg=0.2, tol=1e-12, potentials_init=start
    )
    torch.testing.assert_close(warm.plan, cold.plan, rtol=0, atol=1e-9)


def test_start_is_given_per_problem_or_shared(rng):
    cost = torch.from_numpy(rng.uniform(size=(3, 5, 6)))
    cold = kantorch.solve(cost, reg=0.05)
    together = kantorch.solve(cost, reg=0.05, potentials_init=cold.potentials)
    for i in range(3):
        start = cold.potential_a[i], cold.potential_b[i]
        alone = kantorch.solve(cost[i], reg=0.05, potentials_init=start)
        assert torch.equal(alone.plan, together.plan[i])
        assert int(alone.n_iter) == int(together.n_iter[i])


def test_start_is_not_written_to(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(5, 6)))
    start = torch.from_numpy(rng.normal(size=5)), torch.from_numpy(rng.normal(size=6))
    before = [t.clone() for t in start]
    options = {"max_iter": 30, "tol": 0.0} if method == "ipot" else {}
    laws.solve(method, cost, potentials_init=start, **options)
    assert all(torch.equal(t, old) for t, old in zip(start, before, strict=True))


def test_start_receives_no_gradient(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(5, 6))).requires_grad_()
    start = tuple(torch.zeros(k, dtype=torch.float64, requires_grad=True) for k in (5, 6))
    options = {"max_iter": 30, "tol": 0.0} if method == "ipot" else {}
    value = laws.solve(method, cost, potentials_init=start, **options).value
    gradients = torch.autograd.grad(value, (cost, *start), allow_unused=True)
    assert gradients[0].abs().max() > 0
    assert gradients[1] is None
    assert gradients[2] is None


def test_start_of_a_nearby_problem_helps_a_training_loop(rng):
    cost = torch.from_numpy(rng.uniform(size=(30, 30)))
    start, cold_total, warm_total = None, 0, 0
    for _ in range(5):
        cost = cost + 0.001 * torch.from_numpy(rng.normal(size=(30, 30)))
        cold = kantorch.solve(cost, reg=0.02)
        warm = kantorch.solve(cost, reg=0.02, potentials_init=start or cold.potentials)
        torch.testing.assert_close(warm.value, cold.value, rtol=1e-6, atol=1e-8)
        start = warm.potentials
        cold_total += int(cold.n_iter)
        warm_total += int(warm.n_iter)
    assert warm_total < cold_total


def test_start_with_points_without_mass(method, rng):
    problem = problems.planted_zero_mass(rng, 10, 9)
    options = {"max_iter": 30, "tol": 0.0} if method == "ipot" else {}
    start = tuple(torch.from_numpy(rng.normal(size=k)) for k in (10, 9))
    result = laws.solve(
        method, problem.cost, problem.a, problem.b, reg=0.5, potentials_init=start, **options
    )
    assert bool(torch.isfinite(result.plan).all())
    if method == "exact":
        assert float(result.value) == pytest.approx(problem.value, abs=1e-12 * 1024 * problem.mass)


def test_float32_start_of_a_float32_problem(rng):
    cost = torch.from_numpy(rng.uniform(size=(20, 20)).astype(np.float32))
    cold = kantorch.solve(cost)
    warm = kantorch.solve(cost, potentials_init=cold.potentials)
    # Duals rounded to float32 are not feasible; the answer must be.
    assert warm.status == kantorch.Status.OPTIMAL
    torch.testing.assert_close(warm.value, cold.value, rtol=2e-7, atol=0)


@pytest.mark.parametrize("reg", [1e-2, 1e-3], ids="reg={}".format)
def test_own_solution_is_never_much_worse_a_start_than_none(reg, dtype, rng):
    # Assignments converge slowly: their plans tend to permutations, whose parts exchange next to nothing.
    cold = warm = 0
    for problem in range(100):
        n = 3 + problem % 10
        cost = torch.from_numpy(rng.random((n, n))).to(dtype)
        strength = reg * float(cost.max())
        first = kantorch.solve(cost, reg=strength)
        again = kantorch.solve(cost, reg=strength, potentials_init=first.potentials)
        assert bool(again.converged)
        assert int(again.n_iter) <= 3 * int(first.n_iter), (problem, int(first.n_iter))
        cold, warm = cold + int(first.n_iter), warm + int(again.n_iter)
    assert warm < cold / 5


@pytest.mark.parametrize("constant", [1e5, -1e5, 1e8, 1e14, 1e300])
def test_a_constant_moved_between_the_potentials_means_nothing(method, constant, dtype, rng):
    cost = torch.from_numpy(rng.random((6, 7))).to(dtype)
    options = {"reg": 0.05} if method == "sinkhorn" else {}
    cold = kantorch.solve(cost, method=method, **options)
    f, g = (potential.double() for potential in cold.potentials)
    warm = kantorch.solve(
        cost, method=method, potentials_init=(f + constant, g - constant), **options
    )
    assert bool(warm.converged)
    assert int(warm.n_iter) <= 4 * int(cold.n_iter) + 16
    tolerance = 1e-7 if dtype == torch.float64 else 1e-4
    assert abs(float(warm.value - cold.value)) <= tolerance


@pytest.mark.parametrize("constant", [1e5, -1e5, 1e8, 1e14, 1e300])
def test_steps_of_ipot_do_not_carry_a_constant_of_the_potentials_along(constant, dtype, rng):
    cost = torch.from_numpy(rng.random((6, 7))).to(dtype)
    options = {"method": "ipot", "max_iter": 400, "tol": 0.0}
    cold = kantorch.solve(cost, **options)
    f, g = (potential.double() for potential in cold.potentials)
    warm = kantorch.solve(cost, potentials_init=(f + constant, g - constant), **options)
    assert float(warm.marginal_error) <= 1e-5
    assert abs(float(warm.value - cold.value)) <= 1e-4
