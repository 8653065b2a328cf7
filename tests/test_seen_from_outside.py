"""Solves seen from outside: gradients through vmap, traces, negative views, deep copies."""

from __future__ import annotations

import copy

import pytest
import torch

import kantorch


def _fields(method, name):
    def field(cost):
        options = {"method": method} | ({"reg": 0.1, "tol": 1e-12} if method == "sinkhorn" else {})
        return getattr(kantorch.solve(cost, **options), name)

    return field


def _gradient(function, cost):
    cost = cost.clone().requires_grad_()
    out = function(cost)
    weights = torch.linspace(0.5, 2, out.numel(), dtype=out.dtype).reshape(out.shape)
    return torch.autograd.grad((out * weights).sum(), cost)[0]


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("sinkhorn", "plan"),
        ("sinkhorn", "value"),
        ("sinkhorn", "value_linear"),
        ("exact", "value"),
        ("exact", "value_linear"),
    ],
)
def test_a_gradient_outside_of_vmap_is_that_of_the_loop(method, name):
    cost = torch.rand(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    field = _fields(method, name)
    looped = _gradient(lambda c: torch.stack([field(x) for x in c]), cost)
    assert looped.abs().max() > 0
    torch.testing.assert_close(_gradient(torch.vmap(field), cost), looped, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["plan", "value", "value_linear"])
def test_a_gradient_outside_of_nested_vmap_is_that_of_the_loop(name):
    cost = torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    field = _fields("sinkhorn", name)

    def loop(c):
        return torch.stack([torch.stack([field(x) for x in row]) for row in c])

    mapped = _gradient(torch.vmap(torch.vmap(field)), cost)
    torch.testing.assert_close(mapped, _gradient(loop, cost), rtol=1e-7, atol=1e-9)


def test_a_negative_view_is_read_as_what_it_is():
    cost = torch.tensor([[1.0, 3.0], [2.0, 5.0]], dtype=torch.float64)
    negative = torch._neg_view(cost)
    for options in ({}, {"reg": 0.5}, {"method": "ipot"}):
        seen = kantorch.solve(negative, **options).value
        torch.testing.assert_close(seen, kantorch.solve(-cost, **options).value)


@pytest.mark.filterwarnings("ignore")  # tracing warns of every check of an argument
@pytest.mark.parametrize("options", [{}, {"reg": 0.1}, {"method": "ipot"}])
def test_a_traced_solve_solves_what_it_is_given(options):
    draw = torch.Generator().manual_seed(3)
    first, second = torch.rand(2, 4, 5, generator=draw)
    traced = torch.jit.trace(lambda c: kantorch.solve(c, **options).value, first)
    torch.testing.assert_close(traced(second), kantorch.solve(second, **options).value)


@pytest.mark.parametrize("options", [{}, {"reg": 0.1}, {"method": "ipot"}])
def test_a_deep_copy_of_a_result_with_a_graph_has_its_numbers_and_no_graph(options):
    cost = torch.rand(4, 5, requires_grad=True)
    x = torch.rand(6, 2, requires_grad=True)
    for result in (kantorch.solve(cost * 2, **options), kantorch.solve_sample(x * 2, x, **options)):
        twin = copy.deepcopy(result)
        torch.testing.assert_close(twin.plan, result.plan.detach())
        torch.testing.assert_close(twin.lower_bound, result.lower_bound)
        assert not twin.value.requires_grad
