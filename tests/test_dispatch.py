"""The short way past torch's dispatcher is for plain tensors alone."""

import torch

import kantorch


def test_a_functional_tensor_goes_through_the_dispatcher() -> None:
    cost = torch.rand(3, 4, dtype=torch.float64)
    for options in ({}, {"reg": 0.1}, {"method": "ipot"}):
        plain = kantorch.solve(cost, **options).value
        functional = torch._to_functional_tensor(cost)
        torch._enable_functionalization(reapply_views=False)
        try:
            value = kantorch.solve(functional, **options).value
            torch._sync(value)
            value = torch._from_functional_tensor(value)
        finally:
            torch._disable_functionalization()
        assert torch.equal(value, plain)
