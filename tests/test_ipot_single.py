"""IPOT in float32: what its stored kernel and its cut exponents must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kantorch
import oracle

# Stored kernels are for at most this many rows and columns.
LONGEST = 2048


def random_problem(rng, n, m):
    cost, a, b = rng.uniform(size=(n, m)), rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    cost, a, b = (t.astype(np.float32).astype(float) for t in (cost, a, b))
    return cost, a, b


def run(cost, a, b, beta, iterations, dtype=torch.float32, **options):
    tensors = (torch.from_numpy(np.asarray(t)).to(dtype) for t in (cost, a, b))
    return kantorch.solve(
        *tensors, method="ipot", beta=beta, max_iter=iterations, tol=0.0, **options
    )


def assert_same_plan(result, other, mass_off):
    off = (result.plan.double() - other.plan.double()).abs().sum()
    assert float(off) <= mass_off
    scale = max(abs(float(other.value)), 1e-30)
    assert abs(float(result.value) - float(other.value)) <= 2e-6 * scale


def without_mass(cost, a, b, rows, columns, fill):
    """The problem with points without mass added."""
    padded = np.full((len(a) + rows, len(b) + columns), fill)
    padded[: len(a), : len(b)] = cost
    return padded, np.append(a, np.zeros(rows)), np.append(b, np.zeros(columns))


# The kernel is made anew after at most 64 steps.
@pytest.mark.parametrize("iterations", [1, 2, 3, 13, 63, 64, 65, 66, 129, 500, 3000])
@pytest.mark.parametrize("shape", [(2, 3), (8, 16), (9, 17), (70, 33), (33, 300)], ids=str)
def test_single_iterates_are_the_double_ones(shape, iterations, rng):
    cost, a, b = random_problem(rng, *shape)
    for beta in (2.0, 0.3):
        single = run(cost, a, b, beta, iterations)
        assert_same_plan(single, run(cost, a, b, beta, iterations, torch.float64), 1e-5)


@pytest.mark.parametrize("columns", [1000, 1008, 1024, 1030])
def test_iterates_do_not_depend_on_where_rows_are_stored(columns, rng):
    cost, a, b = random_problem(rng, LONGEST + 1, columns)
    single = run(cost, a, b, 0.3, 4)
    assert_same_plan(single, run(cost, a, b, 0.3, 4, torch.float64), 1e-5)


@pytest.mark.parametrize("shape", [(3, 4), (40, 30)], ids=str)
@pytest.mark.parametrize("beta", [3.0, 0.1, 0.003])
def test_small_and_large_problems_take_the_same_iterates(shape, beta, rng):
    cost, a, b = random_problem(rng, *shape)
    n, m = shape
    for rows, columns in ((LONGEST, 0), (0, LONGEST)):
        padded = run(*without_mass(cost, a, b, rows, columns, 0.5), beta, 40)
        small = run(cost, a, b, beta, 40)
        off = (padded.plan[:n, :m].double() - small.plan.double()).abs().sum()
        assert float(off) <= 1e-5
        assert not padded.plan[n:].any()
        assert not padded.plan[:, m:].any()


@pytest.mark.parametrize("iterations", [40, 120, 200])
@pytest.mark.parametrize("kind", ["normal", "integers", "plane"])
def test_columns_of_underflowed_terms_are_the_double_ones(kind, iterations, rng):
    # Steps this small let entries vanish that are all that a column is left with some steps later.
    batch, n, m = 40, 11, 8
    if kind == "normal":
        cost = rng.normal(size=(batch, n, m))
    elif kind == "integers":
        cost = rng.integers(0, 20, (batch, n, m))
    else:
        x, y = rng.normal(size=(batch, n, 1, 2)), rng.normal(size=(batch, 1, m, 2))
        cost = ((x - y) ** 2).sum(-1)
    cost = torch.tensor(cost, dtype=torch.float32)
    beta = 1e-3 * (cost - cost.amin((1, 2), keepdim=True)).double().mean((1, 2))
    a, b = (torch.tensor(rng.dirichlet(np.ones(k), batch), dtype=torch.float32) for k in (n, m))
    options = {"method": "ipot", "beta": beta, "max_iter": iterations, "tol": 0.0}
    single = kantorch.solve(cost, a, b, **options).plan.double()
    double = kantorch.solve(cost.double(), a.double(), b.double(), **options).plan
    off = (single - double).abs().sum((1, 2))
    assert float(off.max()) <= 1e-4, off


@pytest.mark.parametrize("columns", [8, LONGEST + 1])
@pytest.mark.parametrize("beta", [0.1, 0.05, 0.03, 0.02, 0.015, 0.01, 0.005])
def test_terms_that_are_cut_or_underflowed_do_not_count(beta, columns, rng):
    # From steps within float32's range to steps far beyond, where potentials move by many powers of two.
    batch, n = (40, 11) if columns == 8 else (2, 11)
    cost = torch.tensor(rng.random((batch, n, columns)), dtype=torch.float32)
    a, b = (
        torch.tensor(rng.dirichlet(np.full(k, 0.1), batch) + 1e-12, dtype=torch.float32)
        for k in (n, columns)
    )
    b = b * (a.double().sum(-1) / b.double().sum(-1)).float()[:, None]
    for iterations in (2, 3, 4, 5, 6, 8, 11, 15, 20, 30):
        options = {"method": "ipot", "beta": beta, "max_iter": iterations, "tol": 0.0}
        single = kantorch.solve(cost, a, b, **options).plan.double()
        double = kantorch.solve(cost.double(), a.double(), b.double(), **options).plan
        off = (single - double).abs().sum((1, 2))
        assert float(off.max()) <= 5e-5, (iterations, off)


@pytest.mark.parametrize("beta", [1e-3, 3e-3, 1e-2])
def test_entries_that_underflowed_come_back(beta):
    # Every row prefers the first column by far more than float32's range, and all but one must leave it.
    cost = np.array([[0.0, 1.0, 2.0], [0.0, 0.5, 1.0], [0.0, 0.25, 0.25]])
    third = np.full(3, 1 / 3)
    result = run(cost, third, third, beta, 1500)
    f, g = oracle.ipot_potentials(cost, third, third, beta, 1500)
    want = np.exp((f[:, None] + g - cost) * 1500 / beta)
    np.testing.assert_allclose(result.plan.double(), want, atol=1e-5)


@pytest.mark.parametrize("fill", [-1e6, -1.0, 0.0, 1e6, 1e30])
@pytest.mark.parametrize("shape", [(5, 7), (20, 30)], ids=str)
def test_costs_of_points_without_mass_change_no_iterate(shape, fill, rng):
    cost, a, b = random_problem(rng, *shape)
    n, m = shape
    for iterations in (1, 5, 100):
        small = run(cost, a, b, 0.1, iterations)
        padded = run(*without_mass(cost, a, b, 3, 4, fill), 0.1, iterations)
        off = (padded.plan[:n, :m].double() - small.plan.double()).abs().sum()
        assert float(off) <= 1e-5
        assert bool(torch.isfinite(padded.potential_a).all())
        assert bool(torch.isfinite(padded.potential_b).all())


@pytest.mark.parametrize("k", [-100, -20, -1, 30, 90])
@pytest.mark.parametrize("shape", [(20, 30), (3, LONGEST + 5)], ids=str)
def test_scale_of_the_cost_changes_no_bit_of_the_plan(shape, k, rng):
    cost, a, b = random_problem(rng, *shape)
    for beta in (1.0, 0.01):
        one, scaled = run(cost, a, b, beta, 150), run(cost * 2.0**k, a, b, beta * 2.0**k, 150)
        assert torch.equal(one.plan, scaled.plan)


@pytest.mark.parametrize("shape", [(30, 20), (4, LONGEST + 40)], ids=str)
@pytest.mark.parametrize("iterations", [1, 4, 30])
def test_rows_and_columns_far_from_the_others_are_exact(shape, iterations, rng):
    cost, a, b = random_problem(rng, *shape)
    # A difference of a row survives rounding: it changes no iterate.
    far = cost.copy()
    far[1] += 4096.0
    far = far.astype(np.float32).astype(float)
    single = run(far, a, b, 0.5, iterations)
    assert_same_plan(single, run(far, a, b, 0.5, iterations, torch.float64), 1e-5)
    far[:, 2] += 512.0
    single = run(far, a, b, 0.5, iterations)
    assert_same_plan(single, run(far, a, b, 0.5, iterations, torch.float64), 1e-5)


@pytest.mark.parametrize("least", [1e-6, 1e-12, 1e-30])
def test_tiny_masses_are_no_obstacle(least, rng):
    cost, a, b = random_problem(rng, 12, 15)
    a[::3], b[1::4] = least, least
    a, b = (a / a.sum()).astype(np.float32), (b / b.sum()).astype(np.float32)
    b = (b * (a.sum() / b.sum())).astype(np.float32)
    for iterations in (1, 2, 90):
        single = run(cost, a, b, 0.2, iterations)
        assert_same_plan(single, run(cost, a, b, 0.2, iterations, torch.float64), 1e-5)


def test_more_steps_continue_a_warm_start_alike(rng):
    cost, a, b = random_problem(rng, 25, 18)
    start = run(cost, a, b, 0.2, 30, torch.float64)
    init = (start.potential_a, start.potential_b)
    double = run(cost, a, b, 0.2, 40, torch.float64, potentials_init=init)
    single = run(
        cost, a, b, 0.2, 40, potentials_init=tuple(potential.float() for potential in init)
    )
    assert_same_plan(single, double, 1e-4)


@pytest.mark.parametrize("seed", [16, 104, 140, 168])
def test_a_column_far_from_all_others_is_computed_as_in_double(seed):
    # Its terms underflow beside those of the others once the references have moved.
    rng = np.random.default_rng(seed)
    n, m = (int(k) for k in rng.integers(2, 12, 2))
    cost = rng.random((n, m))
    cost[:, 0] += 10 ** rng.uniform(0, 4)
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m) * rng.choice([0.1, 1]))
    cost, a, b = (t.astype(np.float32) for t in (cost, a, b))
    beta = 10 ** rng.uniform(-3, -1)
    for steps in (3, 10, 40):
        single = run(cost, a, b, beta, steps)
        double = run(cost, a, b, beta, steps, torch.float64)
        assert_same_plan(single, double, 1e-3)
