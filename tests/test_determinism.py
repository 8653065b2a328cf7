"""The answer does not depend, to the bit, on threads, strides, repetition or a power of two."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kantorch
import laws


def options(method):
    return {"max_iter": 40, "tol": 0.0} if method == "ipot" else {}


def random_batch(rng, size, n, m, dtype=torch.float64):
    parts = (
        rng.uniform(size=(size, n, m)),
        rng.dirichlet(np.ones(n), size),
        rng.dirichlet(np.ones(m), size),
    )
    return tuple(torch.from_numpy(t).to(dtype) for t in parts)


# The last two are large enough that one problem is worth several threads.
@pytest.mark.parametrize("shape", [(37, 8, 9), (5, 64, 64), (1, 300, 257), (2, 512, 128)], ids=str)
def test_number_of_threads_changes_no_bit(shape, method, dtype, rng):
    cost, a, b = random_batch(rng, *shape, dtype)
    want = laws.solve(method, cost, a, b, num_threads=1, **options(method))
    for count in (2, 4, 8):
        got = laws.solve(method, cost, a, b, num_threads=count, **options(method))
        laws.assert_same_bits(got, want)


@pytest.mark.parametrize("shape", [(37, 8, 9), (1, 300, 257)], ids=str)
def test_number_of_threads_changes_no_bit_of_a_gradient(shape, method, rng):
    gradients = []
    for count in (1, 4):
        inputs = [
            t.clone().requires_grad_() for t in random_batch(np.random.default_rng(1), *shape)
        ]
        result = laws.solve(method, *inputs, num_threads=count, **options(method))
        gradients.append(torch.autograd.grad(result.value.sum(), inputs))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("shape", [(9, 8, 9), (1, 200, 150)], ids=str)
def test_number_of_threads_changes_no_bit_of_an_implicit_gradient(shape):
    gradients = []
    for count in (1, 4):
        cost, a, b = random_batch(np.random.default_rng(1), *shape)
        cost.requires_grad_()
        result = kantorch.solve(cost, a, b, reg=0.1, num_threads=count)
        gradients.append(torch.autograd.grad(result.value_linear.sum(), cost)[0])
    assert torch.equal(*gradients)


@pytest.mark.usefixtures("threads")
def test_number_of_threads_comes_from_torch(method, rng):
    cost, a, b = random_batch(rng, 9, 16, 16)
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(laws.solve(method, cost, a, b, **options(method)))
    laws.assert_same_bits(*results)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [(4, 5), (300, 257)], ids=str)
def test_a_graph_on_value_linear_and_the_threads_of_torch_change_no_bit_of_it(shape, dtype, rng):
    cost, a, b = (t[0] for t in random_batch(rng, 1, *shape, dtype))
    want = kantorch.solve(cost, a, b, reg=0.1, num_threads=1).value_linear
    cost.requires_grad_()
    for count in (1, 3):
        torch.set_num_threads(count)
        got = kantorch.solve(cost, a, b, reg=0.1, num_threads=1).value_linear
        assert got.requires_grad
        assert torch.equal(got, want)


@pytest.mark.usefixtures("threads")
def test_threads_of_torch_change_no_bit_of_masses_of_many_points(rng):
    x, y = (torch.from_numpy(rng.normal(size=(70_001, 1))) for _ in range(2))
    a = torch.from_numpy(rng.uniform(1, 2, size=70_001)).requires_grad_()
    b = (a.detach().flip(0)).requires_grad_()
    found = []
    for count in (1, 3):
        torch.set_num_threads(count)
        result = kantorch.solve_sample(x, y, a, b, num_threads=1)
        found.append((*torch.autograd.grad(result.value, (a, b)), result.lower_bound))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_repetition_changes_no_bit(method, dtype, rng):
    cost, a, b = random_batch(rng, 6, 33, 20, dtype)
    want = laws.solve(method, cost, a, b, num_threads=4, **options(method))
    for _ in range(20):
        laws.assert_same_bits(
            laws.solve(method, cost, a, b, num_threads=4, **options(method)), want
        )


def transposed(t):
    return t.mT.contiguous().mT


def every_second(t):
    room = torch.full((*t.shape[:-1], 2 * t.shape[-1] + 1), float("nan"), dtype=t.dtype)
    room[..., 1::2] = t
    return room[..., 1::2]


def inner_block(t):
    room = torch.full(tuple(s + 2 for s in t.shape), float("nan"), dtype=t.dtype)
    room[tuple(slice(1, -1) for _ in t.shape)] = t
    return room[tuple(slice(1, -1) for _ in t.shape)]


def batch_last(t):
    return t.movedim(0, -1).contiguous().movedim(-1, 0)


def unaligned(t):
    # One element off: a vector load that assumes 32 or 64 bytes would fault or read its neighbour.
    room = torch.empty(t.numel() + 1, dtype=t.dtype)
    room[1:] = t.flatten()
    return room[1:].view(t.shape)


LAYOUTS = [transposed, every_second, inner_block, batch_last, unaligned]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(3, 7, 5), (2, 64, 64)], ids=str)
def test_strides_change_no_bit(layout, shape, method, dtype, rng):
    cost, a, b = random_batch(rng, *shape, dtype)
    want = laws.solve(method, cost, a, b, **options(method))
    weights = (a, b) if layout is transposed else (layout(a), layout(b))
    laws.assert_same_bits(laws.solve(method, layout(cost), *weights, **options(method)), want)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_strides_change_no_bit_of_a_gradient(layout, method, rng):
    batch = random_batch(rng, 3, 17, 5)
    fields = ["value", "value_linear"] if method == "sinkhorn" else ["value"]
    for more in [{}, {"reg_type": "entropy"}] if method == "sinkhorn" else [{}]:
        gradients = []
        for inputs in (batch, [layout(t) for t in batch]):
            leaves = [t.detach().requires_grad_() for t in inputs]
            result = laws.solve(method, *leaves, **options(method), **more)
            total = sum(getattr(result, field).sum() for field in fields)
            gradients.append(torch.autograd.grad(total, leaves))
        for one, other in zip(*gradients, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("layout", [every_second, batch_last], ids=lambda f: f.__name__)
def test_strides_change_no_bit_on_a_line(layout, rng):
    x, y = (torch.from_numpy(rng.normal(size=(3, 101, 1))) for _ in range(2))
    _, a, b = random_batch(rng, 3, 101, 101)
    want = kantorch.solve_sample(x, y, a, b)
    got = kantorch.solve_sample(layout(x), layout(y), layout(a), layout(b))
    laws.assert_same_bits(got, want)


def test_expanded_inputs_change_no_bit(method, rng):
    cost, a, b = random_batch(rng, 3, 7, 5)
    want = laws.solve(method, cost[:1].repeat(3, 1, 1), a[:1].repeat(3, 1), b, **options(method))
    got = laws.solve(method, cost[0].expand(3, 7, 5), a[0].expand(3, 7), b, **options(method))
    laws.assert_same_bits(got, want)
    rows = cost[0, :1].expand(7, 5)  # a stride of 0 inside the matrix
    laws.assert_same_bits(
        laws.solve(method, rows, **options(method)),
        laws.solve(method, rows.contiguous(), **options(method)),
    )


def test_potentials_may_be_strided(rng):
    cost, a, b = random_batch(rng, 3, 7, 5)
    f, g = torch.from_numpy(rng.normal(size=(3, 7))), torch.from_numpy(rng.normal(size=(3, 5)))
    plain = kantorch.solve(cost, a, b, reg=0.1, max_iter=2, tol=0.0, potentials_init=(f, g))
    views = every_second(f), batch_last(g)
    strided = kantorch.solve(cost, a, b, reg=0.1, max_iter=2, tol=0.0, potentials_init=views)
    laws.assert_same_bits(plain, strided)


@pytest.mark.parametrize("k", [-40, -1, 3, 40])
def test_power_of_two_in_cost_and_reg_changes_no_bit_of_the_plan(k, dtype, rng):
    cost, a, b = random_batch(rng, 3, 9, 12, dtype)
    for extra in ({}, {"max_iter": 5, "tol": 0.0}):
        one = kantorch.solve(cost, a, b, reg=0.05, **extra)
        scaled = kantorch.solve(cost * 2.0**k, a, b, reg=0.05 * 2.0**k, **extra)
        assert torch.equal(one.plan, scaled.plan)
        assert torch.equal(one.n_iter, scaled.n_iter)
        assert torch.equal(one.value * 2.0**k, scaled.value)


@pytest.mark.parametrize("k", [-500, 500])
def test_power_of_two_may_be_extreme(k, rng):
    cost, a, b = random_batch(rng, 2, 9, 12)
    one = kantorch.solve(cost, a, b, reg=0.05)
    scaled = kantorch.solve(cost * 2.0**k, a, b, reg=0.05 * 2.0**k)
    assert torch.equal(one.plan, scaled.plan)


@pytest.mark.parametrize("position", [0, 3, 7])
def test_place_in_the_batch_changes_no_bit(position, method, rng):
    cost, a, b = random_batch(rng, 8, 16, 11)
    alone = laws.solve(method, cost[0], a[0], b[0], **options(method))
    moved = [t.roll(position, 0) for t in (cost, a, b)]
    together = laws.solve(method, *moved, num_threads=3, **options(method))
    for name in laws.FIELDS:
        assert torch.equal(getattr(together, name)[position], getattr(alone, name)), name
