"""`max_iter` limits iterations, pivots and augmentations, and changes nothing else."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import kantorch
import laws
from kantorch import Status


def assignment(rng, n, dims):
    x, y = (torch.from_numpy(rng.normal(size=(n, dims))) for _ in range(2))
    return torch.cdist(x, y).square()


def uniform(n):
    return torch.full((n,), 1 / n, dtype=torch.float64)


@pytest.mark.cpu  # has an algorithm for assignments
@pytest.mark.parametrize("dims", [2, 16])  # the simplex takes the first over, but not the second
@pytest.mark.parametrize("n", [2, 30, 130])
def test_a_limit_that_is_not_reached_changes_no_bit_of_an_assignment(n, dims, rng):
    cost = assignment(rng, n, dims)
    free = kantorch.solve(cost)
    assert int(free.n_iter) > 0
    laws.assert_same_bits(kantorch.solve(cost, max_iter=int(free.n_iter) + 1), free)
    laws.assert_same_bits(kantorch.solve(cost, max_iter=2**40), free)


@pytest.mark.parametrize("dims", [2, 16])
def test_an_assignment_stops_at_its_limit_with_a_feasible_plan(dims, rng):
    n = 60
    cost = assignment(rng, n, dims)
    free = kantorch.solve(cost)
    for limit in (1, 2, n // 2, n - 1, int(free.n_iter) - 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
            result = kantorch.solve(cost, max_iter=limit)
        assert Status(int(result.status)) is Status.MAX_ITERATIONS
        assert int(result.n_iter) == limit
        laws.check(result, cost, uniform(n), uniform(n), method="exact")
        assert float(result.value) >= float(free.value) >= float(result.lower_bound)


@pytest.mark.cpu  # has an algorithm for assignments
def test_an_assignment_counts_augmentations(rng):
    # In many dimensions every row gets its column by one augmentation.
    for n in (5, 40, 200):
        assert int(kantorch.solve(assignment(rng, n, 64)).n_iter) == n


@pytest.mark.cpu  # warns
def test_a_limit_holds_for_each_problem_of_a_batch(rng):
    cost = torch.stack([assignment(rng, 30, 16) for _ in range(3)])
    with pytest.warns(kantorch.ConvergenceWarning, match="3 of 3"):
        result = kantorch.solve(cost, max_iter=7)
    assert result.n_iter.tolist() == [7, 7, 7]


def test_iterations_of_the_levels_before_the_last_are_counted(dtype):
    cost = torch.tensor([[0.0, 1], [1, 0]], dtype=dtype)
    levels = 7  # of eps: from 1 / 16 down to 1e-5, each at most four times smaller than the last
    cold = kantorch.solve(cost, reg=1e-5)
    warm = kantorch.solve(cost, reg=1e-5, potentials_init=cold.potentials)
    assert int(cold.n_iter) >= 10 * levels
    assert int(warm.n_iter) < 10


@pytest.mark.parametrize("max_iter", [7, 20, 37, 60, 150])
@pytest.mark.parametrize("reg", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("height", [0.0, 1e3])
def test_sinkhorn_ends_with_the_sums_of_its_columns_right(max_iter, reg, height):
    # Over-relaxed iterations do not, so the last one is plain.
    rng = np.random.default_rng(3)
    for _ in range(4):
        cost = torch.from_numpy(rng.random((30, 40)))
        cost[0] += height
        b = torch.from_numpy(rng.dirichlet(np.ones(40)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
            result = kantorch.solve(cost, None, b, reg=reg, max_iter=max_iter)
        if int(result.status) == kantorch.Status.MAX_ITERATIONS:
            torch.testing.assert_close(result.plan.sum(0), b, rtol=0, atol=1e-8)
