"""Where reg is too small for potentials in double to determine a plan, the answer still is one of the problem."""

from __future__ import annotations

import warnings

import pytest
import torch

import kantorch
from kantorch import Status

OPTIONS = {
    "sinkhorn": lambda strength: {"reg": strength},
    "fixed": lambda strength: {"reg": strength, "tol": 0.0, "max_iter": 30},
    "short": lambda strength: {"reg": strength, "max_iter": 5},
    "ipot": lambda strength: {"method": "ipot", "beta": strength, "max_iter": 20},
}


@pytest.mark.parametrize("strength", [1e-18, 1e-25, 1e-100, 1e-300, 1e-303, 1e-307, 5e-324])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("scale", [2.0**-40, 1.0, 2.0**40, 2.0**100])
def test_a_strength_below_the_digits_gives_a_plan_of_the_problem(
    options, strength, scale, dtype, rng
):
    cost = torch.from_numpy(rng.random((3, 3)) * scale).to(dtype).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        result = kantorch.solve(cost, **OPTIONS[options](max(strength * scale, 5e-324)))
    assert int(result.status) == Status.PRECISION_LIMIT
    largest = float(cost.detach().max())
    assert 0 <= float(result.value.detach()) <= largest
    if options == "sinkhorn":
        optimum = float(kantorch.solve(cost.detach()).value)
        assert float(result.value.detach()) == pytest.approx(optimum, rel=1e-5)
        assert float(result.marginal_error) <= 0.03
    (gradient,) = torch.autograd.grad(result.value, cost)
    for plan in (result.plan.detach(), gradient):
        torch.testing.assert_close(plan.sum(0), torch.full_like(plan[0], 1 / 3), rtol=0, atol=1e-3)
    assert float(result.marginal_error) <= 2


def test_a_tiny_strength_is_kept_where_the_potentials_are_exact():
    cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    result = kantorch.solve(cost, reg=1e-20)
    assert bool(result.converged)
    assert float(result.value.abs()) <= 1e-18
