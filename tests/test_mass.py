"""The mass that a problem moves scales its plan and its value, and changes nothing else."""

from __future__ import annotations

import math

import pytest
import torch

import laws

REG = 0.05
MASSES = [1e-150, 1e-9, 0.03, 600.0, 1e5, 1e150]


def problems(dtype, device):
    """Three of general weights, which differ in their costs: uniform, of several sizes, and with cells that are blocked."""
    generator = torch.Generator().manual_seed(5)
    cost = torch.rand(3, 7, 12, dtype=torch.float64, generator=generator)
    cost[1] = cost[1] ** 6
    cost[2, :, ::3] = 1e9
    cost[2, 0] = 1
    a = torch.rand(3, 7, dtype=torch.float64, generator=generator) + 0.1
    b = torch.rand(3, 12, dtype=torch.float64, generator=generator) + 0.1
    a, b = a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)
    b[2, ::3] *= 0.2
    b[2] /= b[2].sum()
    return tuple(x.to(device, dtype) for x in (cost, a, b))


@pytest.mark.filterwarnings("ignore::kantorch.ConvergenceWarning")
@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("fixed", [False, True], ids=["tol", "fixed"])
def test_mass_scales_plan_and_value_alone(method, dtype, device, mass, fixed):
    if dtype == torch.float32 and not 1e-30 < mass < 1e30:
        pytest.skip("weights of float32 have no such mass")
    if method == "exact" and fixed:
        pytest.skip("the exact solver makes no fixed number of iterations")
    cost, a, b = problems(dtype, device)
    options = {"tol": 0, "max_iter": 30} if fixed else {}
    one = laws.solve(method, cost, a, b, reg=REG, **options)
    many = laws.solve(method, cost, a * mass, b * mass, reg=REG, **options)
    assert torch.equal(many.status, one.status), (many.status, one.status)
    rounding = 1e-5 if dtype == torch.float32 else 1e-9
    near = {"rtol": 0, "atol": max(rounding, 2 * float(one.marginal_error.max()))}
    torch.testing.assert_close(many.plan.double() / mass, one.plan.double(), **near)
    scale = 1 + float(one.value_linear.abs().max())
    near["atol"] *= scale
    torch.testing.assert_close(many.value_linear.double() / mass, one.value_linear.double(), **near)
    # The entropy is that of the plan to the product of the weights, which is mass^2 of them.
    less = REG * math.log(mass) if method == "sinkhorn" else 0.0
    torch.testing.assert_close(many.value.double() / mass + less, one.value.double(), **near)
