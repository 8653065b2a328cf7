"""`torch.vmap` and `torch.func` on code that calls `solve`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.func import grad, jacrev, vmap

import kantorch
import laws


def options(method):
    return {"max_iter": 60, "tol": 0.0} if method == "ipot" else {}


def random_batch(rng, size, n, m):
    parts = (
        rng.uniform(size=(size, n, m)),
        rng.dirichlet(np.ones(n), size),
        rng.dirichlet(np.ones(m), size),
    )
    return tuple(torch.from_numpy(t) for t in parts)


def value(method):
    return lambda cost, a, b: laws.solve(method, cost, a, b, **options(method)).value


IN_DIMS = [(0, 0, 0), (0, None, None), (None, 0, None), (None, None, 0), (0, 0, None), (None, 0, 0)]


@pytest.mark.parametrize("in_dims", IN_DIMS, ids=str)
def test_vmap_equals_loop(in_dims, method, rng):
    batch = random_batch(rng, 4, 5, 6)
    arguments = [t if d == 0 else t[0] for t, d in zip(batch, in_dims, strict=True)]
    got = vmap(value(method), in_dims)(*arguments)
    for i in range(4):
        alone = [t[i] if d == 0 else t for t, d in zip(arguments, in_dims, strict=True)]
        torch.testing.assert_close(got[i], value(method)(*alone), rtol=1e-14, atol=0)


def test_vmap_over_another_dimension(method, rng):
    cost, a, b = random_batch(rng, 4, 5, 6)
    got = vmap(value(method), (2, 1, 0))(cost.movedim(0, 2), a.T, b)
    torch.testing.assert_close(got, value(method)(cost, a, b), rtol=1e-14, atol=0)


def test_vmap_over_strengths(rng):
    cost, a, b = random_batch(rng, 3, 5, 6)
    reg = torch.tensor([0.1, 0.3, 1.0], dtype=torch.float64)
    for costs, dim in ((cost, 0), (cost[0], None)):
        got = vmap(lambda c, r: kantorch.solve(c, a[0], b[0], reg=r).value, (dim, 0))(costs, reg)
        want = kantorch.solve(costs, a[0], b[0], reg=reg).value
        torch.testing.assert_close(got, want, rtol=1e-14, atol=0)


def test_vmap_over_a_batched_call(method, rng):
    cost, a, b = (
        torch.stack(t)
        for t in zip(random_batch(rng, 3, 5, 6), random_batch(rng, 3, 5, 6), strict=True)
    )
    got = vmap(value(method))(cost, a, b)
    assert got.shape == (2, 3)
    for i in range(2):
        torch.testing.assert_close(got[i], value(method)(cost[i], a[i], b[i]), rtol=1e-14, atol=0)


def test_nested_vmap(method, rng):
    cost, a, b = random_batch(rng, 4, 5, 6)
    got = vmap(vmap(value(method), (None, 0, 0)), (0, None, None))(cost[:3], a, b)
    assert got.shape == (3, 4)
    for i in range(3):
        torch.testing.assert_close(got[i], value(method)(cost[i], a, b), rtol=1e-14, atol=0)


def test_vmap_of_every_field(method, rng):
    cost, _, _ = random_batch(rng, 3, 5, 6)

    def fields(c):
        result = laws.solve(method, c, **options(method))
        return tuple(getattr(result, name) for name in laws.FIELDS)

    for got, want, name in zip(vmap(fields)(cost), fields(cost), laws.FIELDS, strict=True):
        assert got.shape == want.shape, name
        torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-15)


def test_vmap_of_an_empty_batch(method):
    got = vmap(lambda c: laws.solve(method, c, **options(method)).value)(torch.rand(0, 4, 5))
    assert got.shape == (0,)


def test_func_grad_equals_autograd(method, rng):
    leaves = [t[0].clone().requires_grad_() for t in random_batch(rng, 1, 5, 6)]
    want = torch.autograd.grad(value(method)(*leaves), leaves)
    got = grad(value(method), (0, 1, 2))(*[t.detach() for t in leaves])
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-13, atol=1e-16)


def test_vmap_of_grad_equals_loop(method, rng):
    batch = random_batch(rng, 4, 5, 6)
    got = vmap(grad(value(method), (0, 1, 2)))(*batch)
    for i in range(4):
        want = grad(value(method), (0, 1, 2))(*[t[i] for t in batch])
        for k in range(3):
            torch.testing.assert_close(got[k][i], want[k], rtol=1e-13, atol=1e-16)


def test_grad_of_vmap_equals_grad_of_batch(method, rng):
    cost, a, b = random_batch(rng, 4, 5, 6)
    got = grad(lambda c: vmap(value(method))(c, a, b).sum())(cost)
    want = grad(lambda c: value(method)(c, a, b).sum())(cost)
    torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-16)


def test_jacrev_of_a_batch_is_block_diagonal(method, rng):
    cost, a, b = random_batch(rng, 3, 4, 5)
    jacobian = jacrev(lambda c: value(method)(c, a, b))(cost)
    assert jacobian.shape == (3, 3, 4, 5)
    plan = laws.solve(method, cost, a, b, **options(method)).plan
    for i in range(3):
        for j in range(3):
            want = plan[i] if i == j else torch.zeros_like(plan[i])
            torch.testing.assert_close(jacobian[i, j], want, rtol=1e-12, atol=1e-15)


def test_jacrev_of_the_sinkhorn_plan_equals_differences(rng):
    cost, a, b = (t[0] for t in random_batch(rng, 1, 3, 4))

    def plan(c):
        return kantorch.solve(c, a, b, reg=0.3, tol=1e-14).plan

    jacobian = jacrev(plan)(cost)
    step = torch.from_numpy(rng.normal(size=(3, 4)))
    want = (plan(cost + 1e-5 * step) - plan(cost - 1e-5 * step)) / 2e-5
    torch.testing.assert_close((jacobian * step).sum((-2, -1)), want, rtol=1e-6, atol=1e-9)


def test_second_derivatives_of_sinkhorn_agree(rng):
    cost, a, b = (t[0] for t in random_batch(rng, 1, 3, 4))

    def energy(c):
        return kantorch.solve(c, a, b, reg=0.3, tol=1e-14).value

    want = torch.autograd.functional.hessian(energy, cost)
    torch.testing.assert_close(jacrev(jacrev(energy))(cost), want, rtol=1e-8, atol=1e-11)
    step = torch.from_numpy(rng.normal(size=(3, 4)))
    change = (grad(energy)(cost + 1e-5 * step) - grad(energy)(cost - 1e-5 * step)) / 2e-5
    torch.testing.assert_close((want * step).sum((-2, -1)), change, rtol=1e-6, atol=1e-9)


def test_batched_upstream_gradients(method, rng):
    cost, a, b = random_batch(rng, 3, 4, 5)
    cost.requires_grad_()
    result = value(method)(cost, a, b)
    directions = torch.eye(3, dtype=torch.float64)
    (got,) = torch.autograd.grad(result, cost, directions, is_grads_batched=True)
    torch.testing.assert_close(got, jacrev(lambda c: value(method)(c, a, b))(cost.detach()))


@pytest.mark.cpu
def test_bad_values_raise_inside_vmap(method):
    cost = torch.rand(3, 4, 5)
    cost[1, 2, 3] = float("nan")
    with pytest.raises(ValueError, match="cost must be finite"):
        vmap(lambda c: laws.solve(method, c, **options(method)).value)(cost)


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
