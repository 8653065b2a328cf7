"""Sinkhorn against the textbook iteration, and its convergence where the textbook iteration crawls."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import kantorch
import laws
import oracle
import problems


def random_problem(rng, n, m, batch=()):
    cost = rng.uniform(size=(*batch, n, m))
    a, b = (
        rng.dirichlet(np.ones(n), size=batch or None),
        rng.dirichlet(np.ones(m), size=batch or None),
    )
    return tuple(torch.from_numpy(np.asarray(t)) for t in (cost, a, b))


@pytest.mark.parametrize("iterations", [1, 2, 10, 100])
@pytest.mark.parametrize("reg", [1.0, 0.05])
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (7, 1), (5, 8), (16, 16), (33, 20)], ids=str)
def test_fixed_iterations_are_the_plain_ones(shape, reg, iterations, dtype, rng):
    cost, a, b = (t.to(dtype) for t in random_problem(rng, *shape))
    result = kantorch.solve(cost, a, b, reg=reg, max_iter=iterations, tol=0.0)
    inputs = [t.double().numpy() for t in (cost, a, b)]
    inputs[2] = inputs[2] * (inputs[1].sum() / inputs[2].sum())
    want = oracle.sinkhorn(*inputs, reg, iterations)
    # float32: the exponential of an entry is off by a few units in the last place in every half step.
    rtol, atol = (1e-10, 1e-15) if dtype == torch.float64 else (2e-5, 1e-8)
    np.testing.assert_allclose(result.plan.double(), want.plan, rtol=rtol, atol=atol)
    value = oracle.sinkhorn_value(*inputs, reg, want)
    np.testing.assert_allclose(float(result.value), value, rtol=rtol, atol=rtol)
    sums = result.potential_a.double()[:, None] + result.potential_b.double()
    np.testing.assert_allclose(sums, want.f[:, None] + want.g, rtol=rtol, atol=rtol)
    assert int(result.n_iter) == iterations
    assert result.status == kantorch.Status.FIXED_ITERATIONS
    # Columns come last and are exact.
    np.testing.assert_allclose(result.marginal_b.double(), inputs[2], rtol=10 * rtol)


# Rows (almost) a multiple of 4 KiB apart are stored further apart.
@pytest.mark.parametrize("columns", [256, 504, 512, 1008, 1023, 1024, 1040])
def test_iterates_do_not_depend_on_where_rows_are_stored(columns, dtype, rng):
    cost, a, b = (t.to(dtype) for t in random_problem(rng, 300, columns))
    result = kantorch.solve(cost, a, b, reg=0.1, max_iter=5, tol=0.0)
    want = oracle.sinkhorn(*(t.double().numpy() for t in (cost, a, b)), 0.1, 5)
    rtol = 1e-10 if dtype == torch.float64 else 2e-5
    np.testing.assert_allclose(result.plan.double(), want.plan, rtol=rtol, atol=1e-12)


def test_fixed_iterations_start_from_given_potentials(rng):
    cost, a, b = random_problem(rng, 6, 5)
    f, g = torch.from_numpy(rng.normal(size=6)), torch.from_numpy(rng.normal(size=5))
    result = kantorch.solve(cost, a, b, reg=0.2, max_iter=3, tol=0.0, potentials_init=(f, g))
    # Rows come first, so only g can matter.
    want = oracle.sinkhorn(*(t.numpy() for t in (cost, a, b)), 0.2, 3, g=g.numpy())
    np.testing.assert_allclose(result.plan, want.plan, rtol=1e-10, atol=1e-15)


def test_points_without_mass_change_no_iterate(rng):
    cost, a, b = random_problem(rng, 6, 7)
    a[2] = b[0] = b[6] = 0
    a, b = a / a.sum(), b / b.sum()
    result = kantorch.solve(cost, a, b, reg=0.1, max_iter=4, tol=0.0)
    want = oracle.sinkhorn(*(t.numpy() for t in (cost, a, b)), 0.1, 4)
    np.testing.assert_allclose(result.plan, want.plan, rtol=1e-10, atol=1e-15)
    sums = result.potential_a[:, None] + result.potential_b
    # The half steps define the potentials at points without mass as well.
    np.testing.assert_allclose(sums, want.f[:, None] + want.g, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("reg", [0.5, 0.02])
def test_entropy_and_kl_share_the_plan_and_differ_by_a_constant(reg, rng):
    cost, a, b = random_problem(rng, 6, 9)
    kl = kantorch.solve(cost, a, b, reg=reg)
    entropy = kantorch.solve(cost, a, b, reg=reg, reg_type="entropy")
    assert torch.equal(kl.plan, entropy.plan)
    assert torch.equal(kl.potential_a, entropy.potential_a)
    constant = reg * (oracle.weight_entropy(a.numpy()) + oracle.weight_entropy(b.numpy()))
    assert abs(float(entropy.value - kl.value) - constant) < 1e-13


def test_value_is_the_primal_objective_at_convergence(rng):
    cost, a, b = random_problem(rng, 6, 9)
    reg = 0.1
    for reg_type in ("kl", "entropy"):
        result = kantorch.solve(cost, a, b, reg=reg, reg_type=reg_type, tol=1e-13)
        plan = result.plan
        reference = a[:, None] * b if reg_type == "kl" else torch.ones_like(plan)
        objective = (plan * cost).sum() + reg * (plan * (plan / reference).log()).sum()
        assert abs(float(result.value - objective)) < 1e-12


def test_two_by_two_closed_form():
    # By symmetry P = [[p, q], [q, p]] / 2 with p / q = exp(1 / reg) and p + q = 1.
    reg = 0.3
    cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    p = 1 / (1 + np.exp(-1 / reg))
    plan = kantorch.solve(cost, reg=reg).plan
    np.testing.assert_allclose(plan, [[p / 2, (1 - p) / 2], [(1 - p) / 2, p / 2]], rtol=1e-12)


HARD = {
    "permutation": lambda rng: problems.planted_permutation(rng, 24),
    "ties": lambda rng: problems.grid_ties(5, (1, 1)),
    "degenerate": lambda rng: problems.planted_degenerate(rng, 20, 20),
    "tree": lambda rng: problems.planted_tree(rng, 20, 30),
    "line": lambda rng: problems.line(rng, 30, 30),
    "zero_mass": lambda rng: problems.planted_zero_mass(rng, 20, 20),
    "image": lambda rng: problems.image_shift(rng, 5, (1, 1)),
    "wide_range": lambda rng: problems.planted_wide_range(rng, 12, 12),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("relative", [1e-1, 1e-2, 1e-3])
def test_tolerance_is_reached_on_slow_problems(name, relative, rng):
    problem = HARD[name](rng)
    reg = relative * problem.scale
    result = kantorch.solve(problem.cost, problem.a, problem.b, reg=reg, tol=1e-10)
    laws.check(result, problem.cost, problem.a, problem.b, method="sinkhorn", reg=reg, tol=1e-10)
    assert result.status == kantorch.Status.CONVERGED


@pytest.mark.parametrize("name", HARD)
def test_float32_converges_or_tells_at_tiny_reg(name, rng):
    problem = HARD[name](rng).to(torch.float32)
    reg = 1e-4 * problem.scale
    result = kantorch.solve(problem.cost, problem.a, problem.b, reg=reg)
    laws.check(result, problem.cost, problem.a, problem.b, method="sinkhorn", reg=reg)
    assert result.status == kantorch.Status.CONVERGED


@pytest.mark.cpu  # warns
@pytest.mark.parametrize("relative", [1e-5, 1e-7, 1e-10])
def test_vanishing_reg_ends_with_a_true_status(relative, dtype, rng):
    problem = problems.planted_float(rng, 12, 15).to(dtype)
    reg = relative * problem.scale
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = kantorch.solve(problem.cost, problem.a, problem.b, reg=reg, max_iter=3000)
    laws.check(result, problem.cost, problem.a, problem.b, method="sinkhorn", reg=reg)
    warned = any(issubclass(w.category, kantorch.ConvergenceWarning) for w in caught)
    assert warned == (not result.converged)


def test_per_problem_strength_equals_separate_solves(rng):
    cost, a, b = random_problem(rng, 5, 6, (3,))
    reg = torch.tensor([1.0, 0.1, 0.02], dtype=torch.float64)
    together = kantorch.solve(cost, a, b, reg=reg)
    for i in range(3):
        alone = kantorch.solve(cost[i], a[i], b[i], reg=float(reg[i]))
        for name in laws.FIELDS:
            assert torch.equal(getattr(together, name)[i], getattr(alone, name)), name


def test_strength_may_be_a_scalar_tensor(rng):
    cost, a, b = random_problem(rng, 5, 6)
    laws.assert_same_bits(
        kantorch.solve(cost, a, b, reg=torch.tensor(0.1, dtype=torch.float64)),
        kantorch.solve(cost, a, b, reg=0.1),
    )


@pytest.mark.parametrize("start", ["cold", "zeros"])
@pytest.mark.parametrize("n", [10, 30, 60])
def test_random_weights_converge_at_small_reg(n, start, dtype, rng):
    cost = torch.from_numpy(rng.uniform(size=(20, n, n))).to(dtype)
    a, b = (torch.from_numpy(rng.uniform(size=(20, n))).to(dtype) for _ in range(2))
    a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
    init = (
        {"potentials_init": (torch.zeros_like(a), torch.zeros_like(b))} if start == "zeros" else {}
    )
    kantorch.solve(cost, a, b, reg=1e-4, **init).check()
