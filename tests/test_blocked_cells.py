"""Costs that no optimal plan pays, however large, take no digits from the answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog

import kantorch
from kantorch import Status


def blocked_costs(rng: np.random.Generator, n: int, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Small integers of which 40 % are blocked, but for a permutation; and where they are."""
    cost = rng.integers(0, 20, (n, n)).astype(float)
    blocked = rng.random((n, n)) < 0.4
    blocked[np.arange(n), rng.permutation(n)] = False
    cost[blocked] = height
    return cost, blocked


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("height", [1e9, 1e12, 1e16, 1e20, 1e30])
def test_assignments_go_around_blocked_cells(dtype, height):
    rng = np.random.default_rng(7)
    for n in (3, 4, 7, 12, 21, 39):
        for _ in range(4):
            cost, blocked = blocked_costs(rng, n, height)
            allowed = np.where(blocked, 1e6, cost)
            rows, cols = linear_sum_assignment(allowed)
            best = allowed[rows, cols].mean()
            result = kantorch.solve(torch.tensor(cost, dtype=dtype))
            assert Status(int(result.status)) is Status.OPTIMAL
            assert float(result.value) == pytest.approx(
                best, rel=3e-7 if dtype == torch.float32 else 1e-12
            )


@pytest.mark.parametrize("height", [1e9, 1e16, 1e100, 1e300])
def test_general_weights_go_around_blocked_cells(height):
    rng = np.random.default_rng(8)
    for n, m in ((3, 4), (6, 5), (9, 9), (14, 8), (8, 30)):
        cost = rng.integers(0, 20, (n, m)).astype(float)
        blocked = rng.random((n, m)) < 0.4
        blocked[0], blocked[:, 0] = False, False
        cost[blocked] = height
        a, b = rng.random(n) + 0.1, rng.random(m) + 0.1
        a[0] += m
        b[0] += n
        a, b = a / a.sum(), b / b.sum()
        result = kantorch.solve(*(torch.tensor(x) for x in (cost, a, b)))
        equal = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
        oracle = linprog(
            np.where(blocked, 0, cost).ravel(),
            A_eq=equal[:-1],
            b_eq=np.concatenate([a, b])[:-1],
            bounds=[(0, 0 if shut else None) for shut in blocked.ravel()],
        )
        assert oracle.status == 0
        assert Status(int(result.status)) is Status.OPTIMAL
        assert float(result.value) == pytest.approx(oracle.fun, rel=1e-9)
        assert float(result.plan[torch.tensor(blocked)].sum()) == 0


def test_the_answer_is_that_of_its_own_scale():
    cost = torch.tensor([[6, 3, 1e20], [0, 1e20, 9], [6, 7, 5]], dtype=torch.float64)
    result = kantorch.solve(cost)
    assert float(result.value) == pytest.approx(8 / 3, rel=1e-15)
    assert abs(float(result.gap)) < 1e-12
