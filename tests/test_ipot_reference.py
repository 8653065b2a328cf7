"""IPOT against the multiplicative iteration of its paper."""

from __future__ import annotations

import types
import warnings

import numpy as np
import pytest
import torch

import kantorch
import laws
import oracle
import problems
from kantorch.costs import cost_matrix


def random_problem(rng, n, m):
    cost = rng.uniform(size=(n, m))
    return cost, rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


def run(cost, a, b, beta, iterations, dtype=torch.float64):
    tensors = (torch.from_numpy(np.asarray(t)).to(dtype) for t in (cost, a, b))
    return kantorch.solve(*tensors, method="ipot", beta=beta, max_iter=iterations, tol=0.0)


@pytest.mark.parametrize("iterations", [1, 10, 50, 200])
@pytest.mark.parametrize("shape", [(1, 5), (6, 1), (8, 8), (5, 12), (20, 9)], ids=str)
@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_iterates_are_those_of_the_paper(shape, beta, iterations, dtype, rng):
    cost, a, b = (t.astype(np.float32).astype(float) for t in random_problem(rng, *shape))
    result = run(cost, a, b, beta, iterations, dtype)
    want = oracle.ipot(cost, a, b * (a.sum() / b.sum()), beta, iterations)
    # The exponent grows with t / beta, and so does what rounding does to an entry.
    growth = 1 + iterations / beta
    rtol, atol = (1e-14 * growth + 1e-11, 1e-14) if dtype == torch.float64 else (1e-4, 1e-6)
    np.testing.assert_allclose(result.plan.double(), want, rtol=rtol, atol=atol)
    assert int(result.n_iter) == iterations
    assert result.status == kantorch.Status.FIXED_ITERATIONS
    assert abs(float(result.value) - (want * cost).sum()) <= (1e-12 if rtol < 1e-8 else 1e-5)


@pytest.mark.parametrize("iterations", [1, 7, 60])
def test_potentials_are_the_products_of_all_scalings(iterations, rng):
    cost, a, b = random_problem(rng, 5, 8)
    result = run(cost, a, b, 0.2, iterations)
    f, g = oracle.ipot_potentials(cost, a, b, 0.2, iterations)
    sums = result.potential_a[:, None] + result.potential_b
    np.testing.assert_allclose(sums, f[:, None] + g, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("iterations", [1, 10, 50])
def test_points_without_mass_change_no_iterate(iterations, rng):
    cost, a, b = random_problem(rng, 7, 6)
    a[[1, 4]] = b[3] = 0
    a, b = a / a.sum(), b / b.sum()
    cost[1] = -5  # tempting, but there is no mass
    result = run(cost, a, b, 0.2, iterations)
    np.testing.assert_allclose(
        result.plan, oracle.ipot(cost, a, b, 0.2, iterations), rtol=1e-10, atol=1e-15
    )
    assert bool(torch.isfinite(result.potential_a).all() & torch.isfinite(result.potential_b).all())


def test_potentials_at_points_without_mass_are_c_transforms(rng):
    cost, a, b = random_problem(rng, 6, 7)
    a[2] = b[5] = 0
    a, b = a / a.sum(), b / b.sum()
    result = run(cost, a, b, 0.2, 500)
    f, g = result.potential_a.numpy(), result.potential_b.numpy()
    alive_a, alive_b = a > 0, b > 0
    # The same up to the order in which the two dead points see each other.
    assert f[2] <= (cost[2, alive_b] - g[alive_b]).min() + 1e-12
    assert g[5] <= (cost[alive_a, 5] - f[alive_a]).min() + 1e-12
    assert f[2] == pytest.approx((cost[2] - g).min(), abs=1e-12) or g[5] == pytest.approx(
        (cost[:, 5] - f).min(), abs=1e-12
    )


def test_kernel_that_underflows_in_float32_is_solved(dtype):
    cost = np.array([[200.0, 210.0], [0.0, 1.0]])
    half = np.full(2, 0.5)
    result = run(cost, half, half, 1.0, 200, dtype)
    want = oracle.ipot(cost, half, half, 1.0, 200)
    np.testing.assert_allclose(result.plan.double(), want, atol=1e-6)
    # 200 + 1 beats 210 + 0.
    assert float(result.value) == pytest.approx(100.5, rel=1e-5)


@pytest.mark.parametrize("iterations", [1, 10, 100])
@pytest.mark.parametrize("shift", [1.0, 300.0, -1e5])
def test_row_shifts_change_no_iterate(iterations, shift, rng):
    cost, a, b = random_problem(rng, 6, 8)
    shifts = shift * rng.uniform(size=(6, 1))
    plain, shifted = run(cost, a, b, 0.1, iterations), run(cost + shifts, a, b, 0.1, iterations)
    # The shifted cost itself is rounded, and t / beta amplifies that.
    rtol = 1e-10 + 4e-16 * abs(shift) * iterations / 0.1
    np.testing.assert_allclose(shifted.plan, plain.plan, rtol=10 * rtol, atol=1e-14)


@pytest.mark.parametrize("k", [-60, -3, 5, 60])
def test_scaling_cost_and_step_together_leaves_the_plan(k, rng):
    cost, a, b = random_problem(rng, 6, 8)
    one, scaled = run(cost, a, b, 0.1, 50), run(cost * 2.0**k, a, b, 0.1 * 2.0**k, 50)
    assert torch.equal(one.plan, scaled.plan)


def test_scale_of_the_cost_leaves_the_plan_with_the_default_step(rng):
    cost, a, b = random_problem(rng, 6, 8)
    one, scaled = run(cost, a, b, None, 50), run(cost * 2.0**7, a, b, None, 50)
    assert torch.equal(one.plan, scaled.plan)


# The larger problem is worked on in blocks of rows.
@pytest.mark.parametrize(("shape", "lowest"), [((6, 8), 0), ((500, 300), 40), ((500, 300), 499)])
def test_default_step_is_a_tenth_of_the_mean_cost_above_its_minimum(shape, lowest, rng):
    cost, a, b = random_problem(rng, *shape)
    cost[lowest, 0] = -3.0
    beta = 0.1 * (cost - cost.min()).mean()
    np.testing.assert_allclose(
        run(cost, a, b, None, 5).plan, run(cost, a, b, beta, 5).plan, rtol=1e-11
    )


def test_default_step_ignores_points_without_mass(rng):
    cost, a, b = random_problem(rng, 6, 8)
    a[0] = b[1] = 0
    a, b = a / a.sum(), b / b.sum()
    cost[0], cost[:, 1] = 1e6, -1e6
    alive = np.delete(np.delete(cost, 0, 0), 1, 1)
    beta = 0.1 * (alive - alive.min()).mean()
    np.testing.assert_allclose(
        run(cost, a, b, None, 5).plan, run(cost, a, b, beta, 5).plan, rtol=1e-11
    )


def test_columns_are_exact_and_rows_follow(rng):
    cost, a, b = random_problem(rng, 9, 6)
    errors = []
    for iterations in (5, 50, 500):
        result = run(cost, a, b, 0.1, iterations)
        np.testing.assert_allclose(result.marginal_b, b * (a.sum() / b.sum()), rtol=1e-12)
        errors.append(float(result.marginal_error))
    assert errors[0] > errors[1] > errors[2]


def test_planted_permutation_is_recovered(rng):
    problem = problems.planted_permutation(rng, 20)
    result = kantorch.solve(
        problem.cost, problem.a, problem.b, method="ipot", max_iter=20000, tol=1e-4
    )
    laws.check(result, problem.cost, problem.a, problem.b, method="ipot", tol=1e-4)
    assert result.status == kantorch.Status.CONVERGED
    assert torch.equal(result.plan.argmax(-1), problem.plan.argmax(-1))


def test_it_stops_only_when_marginals_and_gap_are_small(rng):
    problem = problems.planted_tree(rng, 10, 14)
    result = kantorch.solve(
        problem.cost, problem.a, problem.b, method="ipot", max_iter=50000, tol=1e-3
    )
    laws.check(result, problem.cost, problem.a, problem.b, method="ipot", tol=1e-3)
    assert result.converged
    assert abs(float(result.value) - problem.value) <= 2e-3 * problem.span * problem.mass


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-6])
def test_exact_marginals_alone_are_not_convergence(tol, rng):
    # Every row of a circulant cost is a rotation of the first: the marginals are exact from the first step on.
    first = rng.uniform(size=9)
    cost = torch.from_numpy(np.stack([np.roll(first, k) for k in range(9)]))
    result = kantorch.solve(cost, method="ipot", beta=5.0, tol=tol, max_iter=10**6)
    assert result.converged
    optimum = first.min()
    assert 0 <= float(result.value) - optimum <= tol * (first.max() - first.min())
    one = kantorch.solve(cost, method="ipot", beta=5.0, tol=0.0, max_iter=1)
    assert float(one.marginal_error) < 1e-14
    assert float(one.value) - optimum > 0.1


def test_it_is_not_sinkhorn_at_the_same_strength(rng):
    # With the sign of the proximal term wrong, the iteration is Sinkhorn's: perfect marginals, wrong value.
    cost, a, b = random_problem(rng, 12, 12)
    result = run(cost, a, b, 0.1, 3000)
    exact = float(oracle.rational(cost, a, b * (a.sum() / b.sum())).value)
    blurred = float(kantorch.solve(*map(torch.from_numpy, (cost, a, b)), reg=0.1).value_linear)
    assert abs(float(result.value) - exact) < 1e-3 * (blurred - exact)


def test_warning_and_error_name_the_gap_where_it_alone_missed():
    # The other permutation costs hardly more: the marginals hold long before the plan has settled.
    cost = torch.tensor([[0.0, 1.0], [1.0, 1.99]], dtype=torch.float64)
    told = r"in 1 of them only the gap, up to [0-9.e-]+, is above tol = 1e-12 times the spread"
    with pytest.warns(kantorch.ConvergenceWarning, match=told):
        result = kantorch.solve(cost, method="ipot", max_iter=60, tol=1e-12)
    assert float(result.marginal_error) <= 1e-12
    with pytest.raises(
        kantorch.ConvergenceError, match=r"error .* and gap [0-9.e-]+, .* max_iter or"
    ):
        result.check()


@pytest.mark.filterwarnings("ignore:ipot")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_most_small_problems_reach_the_default_tolerance(dtype, rng):
    cost = torch.from_numpy(rng.random((40, 5, 6))).to(dtype)
    a, b = (torch.from_numpy(rng.random((40, size))) for size in (5, 6))
    a, b = ((w / w.sum(-1, keepdim=True)).to(dtype) for w in (a, b))
    result = kantorch.solve(cost, a, b, method="ipot")
    assert int(result.converged.sum()) >= 36  # others have almost as good a plan
    exact = kantorch.solve(cost, a, b)
    allowed = (1e-5 if dtype == torch.float32 else 1e-8) * (cost.amax((1, 2)) - cost.amin((1, 2)))
    there = result.converged
    assert bool((result.gap <= 1.01 * allowed)[there].all())  # the gap agrees with the status
    assert bool(((result.value - exact.value).abs() <= 2 * allowed)[there].all())
    assert bool((result.lower_bound <= exact.value).all())


def planar_cost(rng, batch, n, m):
    return ((rng.normal(size=(batch, n, 1, 2)) - rng.normal(size=(batch, 1, m, 2))) ** 2).sum(-1)


@pytest.mark.parametrize("kind", ["uniform", "plane", "ties", "blocked", "tail"])
@pytest.mark.parametrize("shape", [(5, 6), (20, 20), (30, 50), (64, 64), (600, 640)], ids=str)
def test_the_default_tolerance_is_met_long_before_the_default_limit(kind, shape, dtype, rng):
    n, m = shape
    batch = 4 if n < 100 else 1
    cost = {
        "uniform": lambda: rng.random((batch, n, m)),
        "plane": lambda: planar_cost(rng, batch, n, m),
        "ties": lambda: rng.integers(0, 6, (batch, n, m)),
        "blocked": lambda: np.where(rng.random((batch, n, m)) < 0.2, 1e6, rng.random((n, m))),
        "tail": lambda: np.abs(rng.standard_cauchy((batch, n, m))),
    }[kind]()
    cost = torch.from_numpy(np.asarray(cost, float)).to(dtype)
    a, b = (torch.from_numpy(rng.dirichlet(np.ones(k), batch)).to(dtype) for k in shape)
    result = kantorch.solve(cost, a, b, method="ipot")
    assert bool(result.converged.all()), result.n_iter
    assert int(result.n_iter.max()) < 2000
    b = b.double() * (a.double().sum(-1) / b.double().sum(-1))[:, None]
    laws.check(result, cost, a, b.to(dtype), method="ipot")
    exact = kantorch.solve(cost, a, b.to(dtype))
    allowed = 2 * laws.DEFAULT_TOL[dtype] * (cost.amax((1, 2)) - cost.amin((1, 2)))
    assert bool(((result.value - exact.value).abs() <= allowed).all())


@pytest.mark.parametrize("method", ["points", "cost"])
def test_more_points_meet_the_default_tolerance_too(method, dtype, rng):
    x, y = (torch.from_numpy(rng.random((size, 3))).to(dtype) for size in (1100, 1000))
    cost = cost_matrix(x, y)
    if method == "points":
        result = kantorch.solve_sample(x, y, method="ipot")
    else:
        result = kantorch.solve(cost, method="ipot")
    assert bool(result.converged)
    allowed = 2 * laws.DEFAULT_TOL[dtype] * float(cost.max())
    assert float(result.value) == pytest.approx(float(kantorch.solve(cost).value), abs=allowed)


@pytest.mark.cpu  # takes Newton's method
@pytest.mark.parametrize("shape", [(2, 3), (7, 9), (40, 30)], ids=str)
def test_derivatives_by_the_weights_come_near_the_optimal_duals(shape, rng):
    n, m = shape
    cost = torch.from_numpy(rng.random((20, n, m)))
    weights = [torch.from_numpy(rng.dirichlet(np.ones(k), 20)).requires_grad_() for k in shape]
    found, best = (
        torch.autograd.grad(kantorch.solve(cost, *weights, method=method).value.sum(), weights)
        for method in ("ipot", "exact")
    )
    for mine, exact in zip(found, best, strict=True):
        torch.testing.assert_close(mine, exact, rtol=0, atol=5e-5)


def test_newton_steps_count_as_iterations(rng):
    cost = torch.from_numpy(planar_cost(rng, 1, 30, 20)[0])
    uniform = [torch.full((k,), 1 / k, dtype=torch.float64) for k in (30, 20)]
    long = kantorch.solve(cost, method="ipot")
    assert long.converged
    converged = []
    for limit in range(int(long.n_iter) - 30, int(long.n_iter) + 3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
            result = kantorch.solve(cost, method="ipot", max_iter=limit)
        assert int(result.n_iter) <= limit
        converged.append(bool(result.converged))
        laws.check(result, cost, *uniform, method="ipot")
    # The last step makes potentials more precise, and is left out where there is no time for it.
    assert converged == sorted(converged)
    assert not converged[0]
    assert all(converged[30:])


def test_warning_names_the_marginal_error_where_it_missed(rng):
    cost = torch.from_numpy(rng.random((5, 6)))
    with pytest.warns(kantorch.ConvergenceWarning, match=r"largest marginal error [0-9.e-]+\. See"):
        kantorch.solve(cost, method="ipot", max_iter=1)


@pytest.mark.parametrize("constant", [2.0**20, -(2.0**20), 2.0**32], ids=str)
@pytest.mark.parametrize("batched", [False, True])
def test_a_constant_moves_the_value_and_nothing_else(constant, batched, rng):
    # Costs of 2^-20 times an integer, so that the sum with the constant is exact.
    cost = torch.from_numpy(rng.integers(0, 2**20, (7, 9))).double() / 2**20
    a, b = (torch.from_numpy(rng.dirichlet(np.ones(n))) for n in (7, 9))
    if batched:
        cost = torch.stack([cost, cost - constant])  # the second one without a constant
    options = {"method": "ipot", "max_iter": 200, "tol": 0.0}
    plain = kantorch.solve(cost, a, b, **options)
    moved = kantorch.solve(cost + constant, a, b, **options)
    added = constant * float(a.sum())
    for one, other in zip(problems_of(plain), problems_of(moved), strict=True):
        torch.testing.assert_close(other.plan, one.plan, rtol=1e-12, atol=1e-15)
        scale = abs(constant) * 1e-15
        assert abs(float(other.value - one.value) - added) <= 4 * scale
        assert abs(float(other.value_linear - one.value_linear) - added) <= 4 * scale
        torch.testing.assert_close(other.gap, one.gap, rtol=1e-9, atol=1e-15)
        assert abs(float(other.lower_bound - one.lower_bound) - added) <= 2.0**-42 * abs(constant)
        # The potentials are defined up to what is moved from one to the other.
        sums = [r.potential_a[:, None] + r.potential_b for r in (one, other)]
        torch.testing.assert_close(sums[1], sums[0] + constant, rtol=0, atol=4 * scale)


@pytest.mark.parametrize("value", [0.0, 7.0, 1e6, -1e6])
@pytest.mark.parametrize("shape", [(3, 3), (3, 4), (5, 7)], ids=str)
def test_equal_costs_are_solved_at_once(value, shape, dtype):
    result = kantorch.solve(torch.full(shape, value, dtype=dtype), method="ipot")
    assert bool(result.converged)
    assert int(result.n_iter) <= 8
    assert abs(float(result.value) - value) <= 1e-15 * abs(value)


def problems_of(result):
    """Each problem of a result, with the fields that are compared."""
    names = ("plan", "value", "value_linear", "gap", "lower_bound", "potential_a", "potential_b")
    fields = {name: getattr(result, name) for name in names}
    if result.value.ndim == 0:
        return [types.SimpleNamespace(**fields)]
    each = zip(*fields.values(), strict=True)
    return [types.SimpleNamespace(**dict(zip(names, one, strict=True))) for one in each]
