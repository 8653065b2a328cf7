"""A value that the dtype cannot hold is no success of any method, and potentials are finite."""

from __future__ import annotations

import warnings

import pytest
import torch

import kantorch
from kantorch import Status

OPTIONS = [
    {"reg": 1e9},
    {"reg": 1e9, "reg_type": "entropy"},
    {"reg": 1e9, "tol": 0.0, "max_iter": 5},
    {"method": "ipot"},
    {"method": "ipot", "tol": 0.0, "max_iter": 5},
    {},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_value_beyond_the_dtype_is_no_success(options, dtype):
    mass = torch.full((2,), torch.finfo(dtype).max / 2e9, dtype=dtype)
    cost = torch.tensor([[4.0, 7.0], [9.0, 4.0]], dtype=dtype) * 1e9
    weights = torch.stack([mass, torch.full_like(mass, 0.5)])
    with pytest.warns(kantorch.ConvergenceWarning, match="1 values are beyond the range|1 of 2"):
        result = kantorch.solve(cost, weights, weights, **options)
    assert not bool(torch.isfinite(result.value[0]))
    assert int(result.status[0]) == Status.PRECISION_LIMIT
    assert int(result.status[1]) <= Status.FIXED_ITERATIONS
    assert bool(torch.isfinite(result.value[1]))


def test_a_strength_beyond_the_dtype_gives_no_success():
    cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    with pytest.warns(kantorch.ConvergenceWarning, match="1 values are beyond the range"):
        result = kantorch.solve(cost, reg=1e39, reg_type="entropy")
    assert int(result.status) == Status.PRECISION_LIMIT


@pytest.mark.parametrize("constant", [0.0, 1e38])
def test_a_value_that_a_constant_takes_beyond_the_dtype_is_no_success(constant):
    cost = torch.tensor([[0.0, 1e30], [1e30, 0.0]]) + constant
    a = torch.full((2,), 10.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        result = kantorch.solve(cost, a, a, method="ipot")
    assert bool(result.converged) == (constant == 0)


@pytest.mark.parametrize("size", [1.0, 1e38, 3e38])
def test_potentials_of_large_costs_are_finite(method, size):
    cost = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) * size
    options = {"reg": size} if method == "sinkhorn" else {}
    result = kantorch.solve(cost, method=method, **options)
    assert bool(result.converged)
    for potential in result.potentials:
        assert bool(torch.isfinite(potential).all())
    if method == "exact" and size < 3e38:
        f, g = (potential.double() for potential in result.potentials)
        assert bool((f[:, None] + g - cost <= 1e-6 * size).all())
