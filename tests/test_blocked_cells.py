"""Costs that no optimal plan pays, however large, take no digits from the answer."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import kantorch
import oracle
from kantorch import Status


def random_costs(rng, n, m):
    """Integers below 20, and which 40 % of the cells to block."""
    return rng.integers(0, 20, (n, m)).astype(float), rng.random((n, m)) < 0.4


def best_around(blocked, cost, a, b):
    """The exact optimum without the blocked cells: 1e6 is more than any way around them can cost here."""
    return float(oracle.rational(np.where(blocked, 1e6, cost), a, b).value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("height", [1e9, 1e12, 1e16, 1e20, 1e30])
def test_assignments_go_around_blocked_cells(dtype, height):
    rng = np.random.default_rng(7)
    for n in (3, 4, 7, 12, 21, 39):
        for _ in range(4):
            cost, blocked = random_costs(rng, n, n)
            blocked[np.arange(n), rng.permutation(n)] = False
            best = best_around(blocked, cost, np.ones(n), np.ones(n)) / n
            result = kantorch.solve(torch.tensor(np.where(blocked, height, cost), dtype=dtype))
            assert Status(int(result.status)) is Status.OPTIMAL
            assert float(result.value) == pytest.approx(
                best, rel=3e-7 if dtype == torch.float32 else 1e-12
            )


@pytest.mark.parametrize("height", [1e9, 1e16, 1e100, 1e300])
def test_general_weights_go_around_blocked_cells(height):
    rng = np.random.default_rng(8)
    for n, m in ((3, 4), (6, 5), (9, 9), (14, 8), (8, 30)):
        cost, blocked = random_costs(rng, n, m)
        blocked[0], blocked[:, 0] = False, False
        a, b = rng.random(n) + 0.1, rng.random(m) + 0.1
        a[0] += m
        b[0] += n
        a, b = a / a.sum(), b / b.sum()
        result = kantorch.solve(*map(torch.tensor, (np.where(blocked, height, cost), a, b)))
        assert Status(int(result.status)) is Status.OPTIMAL
        assert float(result.value) == pytest.approx(best_around(blocked, cost, a, b), rel=1e-9)
        assert float(result.plan[torch.tensor(blocked)].sum()) == 0


def test_the_answer_is_that_of_its_own_scale():
    cost = torch.tensor([[6, 3, 1e20], [0, 1e20, 9], [6, 7, 5]], dtype=torch.float64)
    result = kantorch.solve(cost)
    assert float(result.value) == pytest.approx(8 / 3, rel=1e-15)
    assert abs(float(result.gap)) < 1e-12


def masks(rng, n):
    """Blocked cells that a plan can do without: anywhere, all but one of a row, all between two halves."""
    anywhere = rng.random((n, n)) < 0.4
    anywhere[np.arange(n), rng.permutation(n)] = False
    row = np.zeros((n, n), bool)
    row[0, 1:] = True
    halves = np.kron(1 - np.eye(2), np.ones((n // 2, n // 2))).astype(bool)
    return {"anywhere": anywhere, "row": row, "halves": halves}


def regularised(cost, blocked, reg, iterations=20_000):
    """<P, C> and the value of Sinkhorn's plan without the blocked cells, uniform weights."""
    exponents = np.where(blocked, -np.inf, -cost / reg)
    n = len(cost)
    f = g = np.zeros(n)
    for _ in range(iterations):
        f = np.log(n) - np.logaddexp.reduce(exponents + g, axis=1)
        g = np.log(n) - np.logaddexp.reduce(exponents + f[:, None], axis=0)
    plan = np.exp(exponents + f[:, None] + g) / n**2
    return (plan * cost).sum(), reg * (f.mean() + g.mean() - (plan.sum() - 1))


@pytest.mark.parametrize("mask", ["anywhere", "row", "halves"])
@pytest.mark.parametrize("reg", [1.0, 0.1, 0.03])
def test_sinkhorn_goes_around_blocked_cells_of_any_height(mask, reg, dtype):
    rng = np.random.default_rng(9)
    cost = rng.random((6, 6)).astype(np.float32).astype(float)
    blocked = masks(rng, 6)[mask]
    linear, value = regularised(cost, blocked, reg)
    heights = [1e3, 1e6, 1e9, 1e12, 1e15, 1e20, 1e30] + [1e100, 1e300] * (dtype == torch.float64)
    for height in heights:
        result = kantorch.solve(torch.tensor(np.where(blocked, height, cost), dtype=dtype), reg=reg)
        assert bool(result.converged), height
        assert float(result.value_linear) == pytest.approx(linear, rel=3e-4), height
        assert float(result.value) == pytest.approx(value, rel=3e-5), height
        assert float(result.plan[torch.tensor(blocked)].sum()) == 0


def test_potentials_that_swallow_the_costs_are_no_answer_of_sinkhorn():
    rng = np.random.default_rng(10)
    cost = torch.tensor(np.where(masks(rng, 6)["halves"], 1e100, rng.random((6, 6))))
    expected = kantorch.solve(cost, reg=0.01)
    start = torch.tensor([1e14] * 3 + [-1e14] * 3, dtype=torch.float64)
    result = kantorch.solve(cost, reg=0.01, potentials_init=(start, -start))
    assert bool(result.converged)
    torch.testing.assert_close(result.value, expected.value)
    torch.testing.assert_close(result.plan, expected.plan, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mask", ["anywhere", "row", "halves"])
@pytest.mark.parametrize("beta", [None, 0.1, 1e-3])
@pytest.mark.parametrize("seed", range(4))
def test_ipot_goes_around_blocked_cells_of_any_height(mask, beta, seed, dtype):
    rng = np.random.default_rng(seed)
    cost = rng.random((6, 6)).astype(np.float32).astype(float)
    blocked = masks(rng, 6)[mask]
    best = best_around(blocked, cost, np.ones(6), np.ones(6)) / 6
    heights = [1e7, 1e9, 1e12, 1e20, 1e30] + [1e100, 1e300] * (dtype == torch.float64)
    for height in heights:
        matrix = torch.tensor(np.where(blocked, height, cost), dtype=dtype)
        result = kantorch.solve(matrix, method="ipot", beta=beta)
        assert bool(result.converged), height
        accuracy = 3e-7 if dtype == torch.float64 else 1e-4
        assert float(result.value) == pytest.approx(best, rel=accuracy), height
        assert abs(float(result.gap)) <= accuracy * best, height


@pytest.mark.cpu  # takes Newton's method
@pytest.mark.parametrize("height", [1e7, 1e9, 1e20, 1e100])
def test_ipot_pays_blocked_cells_where_there_is_no_way_around(height):
    rng = np.random.default_rng(12)
    forced = rng.random((9, 9))
    forced[2] = height * (1 + rng.random(9))  # a whole row
    narrow = rng.random((40, 40))
    narrow[:2, 1:] = height  # two rows for one column
    light = np.ones(40)
    light[2] = 1e-3  # what has to be paid is rare
    far = rng.random((40, 40))
    far[2] = height
    for cost, a in ((forced, np.ones(9)), (narrow, np.ones(40)), (far, light)):
        weights = torch.from_numpy(a / a.sum())
        result = kantorch.solve(torch.from_numpy(cost), weights, method="ipot")
        assert bool(result.converged)
        best = kantorch.solve(torch.from_numpy(cost), weights).value
        assert float(result.value) == pytest.approx(float(best), rel=0, abs=2e-8 * height)


@pytest.mark.parametrize("mask", ["anywhere", "halves"])
@pytest.mark.parametrize("seed", range(5))
def test_blocked_cells_may_be_of_all_heights_at_once(mask, seed):
    rng = np.random.default_rng(seed)
    cost = rng.random((8, 8))
    blocked = masks(rng, 8)[mask]
    heights = 10.0 ** rng.choice([7, 9, 12, 20, 44, 48, 200], (8, 8))
    matrix = torch.tensor(np.where(blocked, heights, cost))
    uniform = np.ones(8)
    ipot = kantorch.solve(matrix, method="ipot")
    assert bool(ipot.converged)
    assert float(ipot.value) == pytest.approx(
        best_around(blocked, cost, uniform, uniform) / 8, rel=3e-7
    )
    sinkhorn = kantorch.solve(matrix, reg=0.1)
    assert bool(sinkhorn.converged)
    linear, value = regularised(cost, blocked, 0.1)
    assert float(sinkhorn.value_linear) == pytest.approx(linear, rel=3e-4)
    assert float(sinkhorn.value) == pytest.approx(value, rel=3e-5)


def test_sinkhorn_at_a_reg_that_left_the_range_is_not_converged():
    # As the fuzzer found it: noise at this reg, and a plan of another reg, 1e48 times as large, that had converged.
    rng = np.random.default_rng(357)
    for _ in range(20):
        cost = torch.tensor(10.0 ** rng.uniform(-300, 300, (6, 6)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
            result = kantorch.solve(cost, reg=1e-30, max_iter=500)
        if bool(result.converged):
            assert float(result.value - result.value_linear) <= 1e-30 * np.log(6) * 1.01


def test_discouraged_cells_are_paid_where_others_are_blocked():
    rng = np.random.default_rng(13)
    cost = rng.random((6, 8))
    cost[2] = 1e9 * (1 + rng.random(8))  # has to be paid
    cost[rng.random((6, 8)) < 0.2] = 1e30
    cost[2, 0] = 1e9
    matrix = torch.from_numpy(cost)
    best = float(kantorch.solve(matrix).value)
    ipot = kantorch.solve(matrix, method="ipot")
    sinkhorn = kantorch.solve(matrix, reg=1e7)
    for result, accuracy in ((ipot, 1e-7), (sinkhorn, 0.5)):
        assert bool(result.converged)
        assert float(result.value_linear) == pytest.approx(best, rel=accuracy)
        assert float(result.plan[matrix == 1e30].sum()) == 0


@pytest.mark.cpu  # takes Newton's method
@pytest.mark.parametrize("height", [1e7, 1e12])
@pytest.mark.parametrize("constant", [-(2.0**14), 2.0**10, 2.0**14])
def test_a_constant_beside_blocked_cells_moves_the_value_alone(method, dtype, height, constant):
    rng = np.random.default_rng(11)
    # Multiples of 2^-8, which a constant leaves as they are.
    cost = torch.tensor(np.floor(256 * rng.random((3, 9, 14))) / 256, dtype=dtype)
    blocked = torch.tensor(rng.random((3, 9, 14)) < 0.3)
    blocked[:, :, 0], blocked[:, 0] = False, False
    a = torch.tensor(rng.random((3, 9)) + 0.2, dtype=dtype)
    b = torch.tensor(rng.random((3, 14)) + 0.2, dtype=dtype)
    a[:, 0] += 3
    b[:, 0] += 3
    a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
    options = {"method": method, "reg": 0.05} if method == "sinkhorn" else {"method": method}
    plain = kantorch.solve(cost.masked_fill(blocked, height), a, b, **options)
    moved = kantorch.solve((cost + constant).masked_fill(blocked, height), a, b, **options)
    assert moved.status.tolist() == plain.status.tolist()
    assert int(plain.status.max()) in (Status.OPTIMAL, Status.CONVERGED)
    rounding = {torch.float32: 3e-4, torch.float64: 1e-7}[dtype]
    mass = moved.marginal_a.double().sum(-1)
    value = moved.value_linear.double() - constant * mass
    size = abs(constant) * torch.finfo(dtype).eps * 4
    torch.testing.assert_close(value, plain.value_linear.double(), rtol=0, atol=rounding + size)
    torch.testing.assert_close(moved.plan, plain.plan, rtol=0, atol=2 * rounding)
    best = [best_around(*map(np.asarray, of)) for of in zip(blocked, cost, a, b, strict=True)]
    best = torch.tensor(best, dtype=torch.float64)
    assert bool((moved.lower_bound.double() - constant <= best + size).all())


@pytest.mark.cpu  # takes Newton's method
@pytest.mark.parametrize("height", [1e8, 1e15, 1e27])
def test_ipot_goes_around_blocked_cells_whatever_its_errors_do_on_the_way(height):
    # Errors of the marginals rise and fall by factors of ten on the way to these plans, and are no proof that there are none.
    rng = np.random.default_rng(1)
    for trial in range(40):
        n, m = rng.integers(4, 15, 2)
        plan = rng.integers(1, 4, (n, m)) * (rng.random((n, m)) < 2.5 / np.sqrt(n * m))
        plan[np.arange(max(n, m)) % n, np.arange(max(n, m)) % m] += 1
        blocked = (plan == 0) & (rng.random((n, m)) < 0.6)
        cost = np.where(blocked, height, rng.random((n, m)))
        a, b = plan.sum(1) / plan.sum(), plan.sum(0) / plan.sum()
        problem = [torch.tensor(x) for x in (cost, a, b)]
        best = kantorch.solve(*problem).value
        result = kantorch.solve(*problem, method="ipot")
        assert bool(result.converged), trial
        assert float(result.value) == pytest.approx(float(best), rel=1e-5), trial


def long_tailed(kind, rng, n, m):
    if kind == "log-normal":
        return np.exp(4 * rng.standard_normal((n, m)))
    if kind == "Cauchy":
        return rng.standard_cauchy((n, m)) ** 2
    cost, blocked = random_costs(rng, n, m)
    return np.where(blocked, 10.0 ** rng.integers(3, 6), cost)


@pytest.mark.cpu  # takes Newton's method
@pytest.mark.parametrize("kind", ["log-normal", "Cauchy", "blocked"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ipot_is_as_exact_beside_a_long_tail_of_the_costs(kind, dtype):
    rng = np.random.default_rng(43)
    for _ in range(30):
        n, m = rng.integers(2, 16, 2)
        cost = torch.tensor(long_tailed(kind, rng, n, m)).to(dtype)
        a, b = (torch.tensor(rng.dirichlet(np.ones(k))).to(dtype) for k in (n, m))
        best = kantorch.solve(cost.double(), a.double(), b.double())
        paid = float(cost[best.plan > 1e-9].max() - cost.min())
        result = kantorch.solve(cost, a, b, method="ipot")
        assert Status(int(result.status)) is Status.CONVERGED
        # The tolerance, 1e-5 and 1e-8, of what counts as the spread: up to 64 times what the cheapest quarter costs.
        tol = 1e-3 if dtype == torch.float32 else 1e-6
        assert abs(float(result.value) - float(best.value)) <= tol * paid


@pytest.mark.parametrize("height", [1.0, 1e10, 1e18, 1e30, 1e300])
@pytest.mark.parametrize("side", ["rows", "columns", "both"])
def test_padding_of_any_cost_leaves_a_slow_problem_of_sinkhorn_alone(side, height):
    rng = np.random.default_rng(3)
    cost, blocked = rng.random((13, 12)), rng.random((13, 12)) < 0.25
    cost[blocked] = 1e24
    a, b = rng.random(13) + 0.2, rng.random(12) + 0.2
    a, b = a / a.sum(), b / b.sum()
    more = {"rows": (2, 0), "columns": (0, 3), "both": (2, 3)}[side]
    padded = np.full((13 + more[0], 12 + more[1]), height)
    padded[:13, :12] = cost
    alone = kantorch.solve(*map(torch.tensor, (cost, a, b)), reg=0.004)
    weights = [np.pad(w, (0, k)) for w, k in zip((a, b), more, strict=True)]
    result = kantorch.solve(*map(torch.tensor, (padded, *weights)), reg=0.004)
    assert alone.converged
    assert result.converged
    assert float(result.value) == pytest.approx(float(alone.value), rel=1e-9)
    assert float(result.plan[13:].sum() + result.plan[:, 12:].sum()) == 0


@pytest.mark.cpu  # takes Newton's method
@pytest.mark.parametrize("height", [1e12, 1e60])
@pytest.mark.parametrize("missing", [0.02, 0.005, 0.001])
def test_ipot_sees_soon_that_a_little_mass_has_no_way_around_blocked_cells(missing, height):
    rng = np.random.default_rng(5)
    for n, m in ((3, 4), (7, 8), (6, 15)):
        cost = rng.integers(0, 20, (n, m)).astype(float)
        cost[0, 1:] = height
        a, b = rng.dirichlet(np.ones(n)) * 0.8, rng.dirichlet(np.ones(m)) * 0.8
        a[0] += 0.2
        b[0] = 0
        b *= (1 - a[0] + missing) / b.sum()
        b[0] = a[0] - missing
        result = kantorch.solve(
            *(torch.from_numpy(x) for x in (cost, a, b)), method="ipot", max_iter=1000
        )
        assert Status(int(result.status)) is Status.CONVERGED
        assert float(result.value) == pytest.approx(missing * height, rel=1e-6)
