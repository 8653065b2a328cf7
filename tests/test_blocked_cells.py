"""Costs that no optimal plan pays, however large, take no digits from the answer."""

from __future__ import annotations

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
