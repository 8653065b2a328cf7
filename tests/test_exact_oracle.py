"""The exact solver against integer arithmetic, linear programming and thousands of planted optima."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import kantorch
import laws
import oracle
import problems

SHAPES = [
    (1, 1),
    (1, 5),
    (4, 1),
    (2, 2),
    (3, 3),
    (4, 7),
    (9, 5),
    (8, 8),
    (13, 13),
    (17, 24),
    (31, 2),
]
KINDS = [
    problems.planted_tree,
    problems.planted_degenerate,
    problems.planted_float,
    problems.planted_wide_range,
    problems.planted_zero_mass,
    problems.planted_negative,
]


def batch(items):
    return (torch.stack([getattr(p, name) for p in items]) for name in ("cost", "a", "b"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_planted_optimum_is_found(kind, shape):
    rng = np.random.default_rng(hash(shape) % 1000)
    items = [kind(rng, *shape) for _ in range(40)]
    cost, a, b = batch(items)
    result = kantorch.solve(cost, a, b)
    laws.check(result, cost, a, b, method="exact")
    assert bool((result.status == kantorch.Status.OPTIMAL).all())
    want = torch.tensor([p.value for p in items], dtype=torch.float64)
    unit = torch.tensor([max(p.span, p.scale) * p.mass for p in items], dtype=torch.float64)
    assert bool(((result.value - want).abs() <= 1e-12 * unit).all())
    for i, p in enumerate(items):
        if p.plan is not None:
            torch.testing.assert_close(result.plan[i], p.plan, rtol=0, atol=1e-12 * p.mass)
        if p.potential_a is not None:
            f, g = result.potential_a[i], result.potential_b[i]
            want = p.potential_a[:, None] + p.potential_b
            torch.testing.assert_close(f[:, None] + g, want, rtol=0, atol=1e-12 * p.scale)


@pytest.mark.parametrize("n", [2, 3, 8, 16, 40])
def test_planted_assignment_is_found(n):
    rng = np.random.default_rng(n)
    items = [problems.planted_permutation(rng, n) for _ in range(40)]
    cost, a, b = batch(items)
    result = kantorch.solve(cost, a, b)
    assert torch.equal(result.plan, torch.stack([p.plan for p in items]))
    assert torch.equal(result.value, torch.tensor([p.value for p in items], dtype=torch.float64))


@st.composite
def small_problem(draw):
    n, m = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    few = st.sampled_from([0.0, 1.0, 2.0, -1.0])
    any_cost = st.floats(-1e6, 1e6, allow_subnormal=False)
    cell = draw(st.sampled_from([few, any_cost, st.floats(0, 1, width=32)]))
    cost = draw(st.lists(cell, min_size=n * m, max_size=n * m))
    mass = st.integers(0, 4)
    a = draw(st.lists(mass, min_size=n, max_size=n))
    b = draw(st.lists(mass, min_size=m, max_size=m))
    a[0] += sum(a) == 0
    b[0] += sum(b) == 0
    # Equal totals in integers: each side is multiplied by the sum of the other.
    a, b = np.array(a, float) * sum(b), np.array(b, float) * sum(a)
    return np.array(cost).reshape(n, m), a, b


@given(small_problem())
def test_value_is_the_rational_optimum(problem):
    cost, a, b = problem
    result = kantorch.solve(*(torch.from_numpy(t) for t in problem))
    exact = float(oracle.rational(cost, a, b).value)
    assert abs(float(result.value) - exact) <= 1e-13 * np.abs(cost).max() * a.sum()
    bound = oracle.rational_bound(cost, a, b, result.potential_b.numpy())
    assert float(bound) >= exact - 1e-13 * np.abs(cost).max() * a.sum()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_value_agrees_with_linear_programming(n, m, seed):
    rng = np.random.default_rng(seed)
    cost = rng.normal(size=(n, m))
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    value = float(kantorch.solve(*map(torch.from_numpy, (cost, a, b))).value)
    # 1e-10 is HiGHS' own tolerance, on each of the n + m equations.
    assert abs(value - oracle.highs(cost, a, b)) <= 1e-10 * (n + m)


@pytest.mark.parametrize(
    "shape", [(150, 150), (200, 60), (60, 200), (8, 1500), (1500, 8), (400, 500)], ids=str
)
@pytest.mark.parametrize("kind", ["planted_tree", "planted_degenerate", "planted_zero_mass"])
def test_planted_optimum_is_found_in_larger_problems(kind, shape, dtype, rng):
    problem = getattr(problems, kind)(rng, *shape).to(dtype)
    result = kantorch.solve(problem.cost, problem.a, problem.b)
    laws.check(result, problem.cost, problem.a, problem.b, method="exact")
    rounding = 1e-12 if dtype == torch.float64 else 1e-7  # of the value in its own dtype
    assert abs(float(result.value) - problem.value) <= rounding * problem.span * problem.mass


@pytest.mark.parametrize("n", [100, 257, 500])
@pytest.mark.parametrize("kind", ["permutation", "translation", "gaussian", "line", "ties"])
def test_larger_assignment_is_found(kind, n, dtype, rng):
    problem = {
        "permutation": lambda: problems.planted_permutation(rng, n),
        "translation": lambda: problems.translation(rng, n),
        "gaussian": lambda: problems.gaussian_map(rng, n),
        "line": lambda: problems.line(rng, n, n),
        "ties": lambda: problems.grid_ties(round(n**0.5), (3, 1)),
    }[kind]()
    cast = problem.to(dtype)
    result = kantorch.solve(cast.cost, cast.a, cast.b)
    laws.check(result, cast.cost, cast.a, cast.b, method="exact")
    # float32 rounds every cost and every weight before anything is solved.
    rounding = 1e-12 if dtype == torch.float64 else 2e-6
    assert abs(float(result.value) - problem.value) <= rounding * problem.scale * problem.mass
    assert result.status == kantorch.Status.OPTIMAL


@pytest.mark.parametrize(
    "cost",
    [
        torch.zeros(64, 64),
        torch.ones(64, 64) - torch.eye(64),
        torch.eye(64),
        (torch.arange(64)[:, None] + torch.arange(64)) % 2,
        (torch.arange(64)[:, None] * torch.arange(64)) % 3,
        torch.arange(64).expand(64, 64),
        (torch.arange(64)[:, None] - torch.arange(64)).abs(),
        torch.tril(torch.ones(64, 64)),
    ],
    ids=["zeros", "off-diagonal", "diagonal", "chess", "mod3", "rows", "line", "triangle"],
)
def test_ties_neither_cycle_nor_mislead(cost):
    from scipy.optimize import linear_sum_assignment

    cost = cost.double()
    result = kantorch.solve(cost, torch.ones(64).double(), torch.ones(64).double())
    rows, cols = linear_sum_assignment(cost.numpy())
    assert float(result.value) == float(cost[rows, cols].sum())


def test_float32_problem_is_solved_in_float64(rng):
    cost = torch.from_numpy(rng.uniform(size=(60, 60))).float()
    single = kantorch.solve(cost)
    double = kantorch.solve(cost.double())
    assert single.value.dtype == torch.float32
    # Only the returned numbers are rounded: 1/60 itself is.
    torch.testing.assert_close(single.value.double(), double.value, rtol=3e-7, atol=0)
    torch.testing.assert_close(single.plan.double(), double.plan, rtol=3e-7, atol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e6, -1e9, 1e12])
def test_constant_offset_leaves_the_plan(offset, rng):
    problem = problems.planted_tree(rng, 8, 6)
    result = kantorch.solve(problem.cost + offset, problem.a, problem.b)
    torch.testing.assert_close(result.plan, problem.plan, rtol=0, atol=1e-12 * problem.mass)


@pytest.mark.parametrize("k", [-900, -300, -60, -1, 1, 60, 300, 900])
def test_scale_of_the_cost_leaves_the_plan(k, rng):
    problem = problems.planted_float(rng, 8, 6)
    one = kantorch.solve(problem.cost, problem.a, problem.b)
    scaled = kantorch.solve(problem.cost * 2.0**k, problem.a, problem.b)
    assert torch.equal(one.plan, scaled.plan)
    assert torch.equal(one.value * 2.0**k, scaled.value)
    assert scaled.status == kantorch.Status.OPTIMAL


@pytest.mark.parametrize("k", [-200, -60, 60, 200])
def test_scale_of_the_mass_scales_the_plan(k, rng):
    problem = problems.planted_float(rng, 8, 6)
    one = kantorch.solve(problem.cost, problem.a, problem.b)
    scaled = kantorch.solve(problem.cost, problem.a * 2.0**k, problem.b * 2.0**k)
    assert torch.equal(one.plan * 2.0**k, scaled.plan)


def test_plan_is_sparse(rng):
    cost = torch.from_numpy(rng.uniform(size=(3, 30, 20)))
    nonzero = (kantorch.solve(cost).plan > 0).sum((-2, -1))
    assert int(nonzero.max()) <= 49


def test_tiny_and_huge_weights_live_together(rng):
    a = torch.tensor([1e-12, 1.0, 1e-6], dtype=torch.float64)
    b = torch.tensor([0.5, 1e-12, 0.5 + 1e-6], dtype=torch.float64)
    cost = torch.from_numpy(rng.uniform(size=(3, 3)))
    result = kantorch.solve(cost, a, b)
    exact = float(oracle.rational(cost.numpy(), a.numpy(), b.numpy()).value)
    assert abs(float(result.value) - exact) < 1e-15
    # Each small point gets its own mass, not a rounding error of the large ones.
    torch.testing.assert_close(result.marginal_a, a, rtol=1e-3, atol=0)


@pytest.mark.parametrize("dear", [1.0, 1e3, 1e9])
@pytest.mark.parametrize("hardly", [1e-20, 1e-17])
@pytest.mark.parametrize("transposed", [False, True])
def test_points_of_hardly_any_mass_are_served_by_their_nearest(hardly, dear, transposed, rng):
    # Such masses are lost beside the others. No dearer cell is of use to anybody else.
    for k in range(6):
        cost = torch.from_numpy(rng.random((5, 6)))
        a, b = (torch.from_numpy(rng.dirichlet(np.ones(size))) for size in (5, 6))
        cost[:, k] = dear * torch.from_numpy(1 + rng.random(5))
        b[k] = hardly
        b = b * (a.sum() / b.sum())
        if transposed:
            cost, a, b = cost.mT, b, a
        result = kantorch.solve(cost, a, b)
        assert result.status == kantorch.Status.OPTIMAL
        reduced = cost - result.potential_a[:, None] - result.potential_b
        line = (result.plan.T if not transposed else result.plan)[k]
        assert float(line.sum()) == pytest.approx(hardly, rel=1e-9)
        spare = (reduced.T if not transposed else reduced)[k]
        assert float(spare[line > 0].max()) <= 1e-12 * dear + 1e-12


def test_a_column_tells_what_it_lacks(rng):
    # A column for all rows: what rounding leaves it with is all the marginal error there is.
    told = 0
    for _ in range(50):
        a = torch.from_numpy(rng.dirichlet(np.ones(7)))
        result = kantorch.solve(
            torch.zeros(7, 1, dtype=torch.float64), a, a.sum()[None] * (1 + 1e-7)
        )
        assert result.status == kantorch.Status.OPTIMAL
        whole = bool((result.plan[:, 0] == a).all())
        told += whole and float(result.marginal_error) > 0
        assert float(result.marginal_error) < 1e-15
    assert told > 0
