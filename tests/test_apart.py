"""Implicit derivatives of Sinkhorn's plan where it falls into parts that hardly share any mass."""

from __future__ import annotations

import pytest
import torch

import kantorch
from differences import central

BLOCKS = torch.tensor(
    [[0.0, 0.1, 1, 1], [0.05, 0.2, 1, 1], [1, 1, 0, 0.1], [1, 1, 0.3, 0.1]], dtype=torch.float64
)


@pytest.mark.parametrize("name", ["plan", "value_linear"])
@pytest.mark.parametrize("reg", [0.02, 0.01, 0.005, 0.003])
def test_gradients_in_the_cost_are_those_of_differences(name, reg):
    def function(cost):
        result = kantorch.solve(cost, reg=reg, tol=1e-14, max_iter=100_000)
        return result.value_linear if name == "value_linear" else result.plan[0, 1]

    cost = BLOCKS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(cost), cost)
    expected = central(function, BLOCKS, step=1e-3 * reg)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reg", [1e-3, 3e-4, 1e-4])
@pytest.mark.parametrize("shape", [(4, 6), (8, 8), (12, 8), (30, 40)], ids=str)
@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_gradients_of_the_cost_paid_are_of_the_plans_size(shape, reg, dtype):
    """d/dC <P, C> sums to the mass, and no entry can exceed what the plan's own changes allow."""
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand((20, *shape), generator=generator, dtype=dtype).requires_grad_()
    a = torch.full((20, shape[0]), 1 / shape[0], dtype=dtype, requires_grad=True)
    b = torch.full((20, shape[1]), 1 / shape[1], dtype=dtype, requires_grad=True)
    value = kantorch.solve(cost, a, b, reg=reg).value_linear.sum()
    of_cost, of_a, of_b = torch.autograd.grad(value, (cost, a, b))
    assert of_cost.flatten(1).norm(dim=1).max() < 10
    torch.testing.assert_close(of_cost.sum((1, 2)), torch.ones(20, dtype=dtype), rtol=0, atol=2e-3)
    assert max(of_a.abs().max(), of_b.abs().max()) < 10
