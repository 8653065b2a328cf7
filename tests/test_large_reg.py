"""Where reg is large beside the costs the plan is nearly a b^T, and values and potentials still have their digits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kantorch
from kantorch import Status

RATIOS = (300.0, 1e5, 1e8, 1e12, 1e20)


def weights(size, dtype, seed):
    draw = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((draw + 0.1) / (draw + 0.1).sum()).to(dtype)


def reference(cost, a, b, reg):
    """Value and potentials (f, g) in extended precision, of weights of mass 1."""
    c, a, b = (x.detach().double().numpy().astype(np.longdouble) for x in (cost, a, b))
    a, b = a / a.sum(), b / b.sum()
    f, g = np.zeros(len(a), np.longdouble), np.zeros(len(b), np.longdouble)
    for _ in range(20):
        f = -reg * np.log1p(np.expm1((g - c) / reg) @ b)
        g = -reg * np.log1p(a @ np.expm1((f[:, None] - c) / reg))
    value, f, g = (torch.tensor(np.asarray(x, float)) for x in (a @ f + b @ g, f, g))
    return value, f, g


def close(got, want, dtype):
    rtol = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(got.double(), want.double(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("shape", [(1, 5), (7, 7), (40, 90), (600, 300)], ids=str)
def test_value_and_gradients_are_those_of_extended_precision(dtype, shape, ratio):
    n, m = shape
    cost = torch.rand(shape, generator=torch.Generator().manual_seed(n), dtype=dtype)
    a, b = weights(n, dtype, 1).requires_grad_(), weights(m, dtype, 2).requires_grad_()
    result = kantorch.solve(cost, a, b, reg=ratio).check()
    value, f, g = reference(cost, a, b, ratio)
    close(result.value, value, dtype)
    by_a, by_b = torch.autograd.grad(result.value, (a, b))
    close(by_a, f - f.mean(), dtype)
    close(by_b, g - g.mean(), dtype)
    close(result.plan, a[:, None] * b * ((f[:, None] + g - cost) / ratio).exp(), dtype)


@pytest.mark.parametrize("unit", [1e-30, 1e-12, 1e12])
def test_small_costs_and_a_large_reg_are_the_same(dtype, unit):
    cost = torch.rand(6, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    a, b = weights(6, dtype, 1), weights(8, dtype, 2)
    value, *_ = reference(cost, a, b, 1e6)
    result = kantorch.solve(cost * unit, a, b, reg=1e6 * unit)
    close(result.value.double() / unit, value, dtype)


def test_points_have_the_answer_of_their_distances(dtype):
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.rand(size, 3, generator=draw, dtype=dtype) for size in (30, 50))
    a, b = weights(30, dtype, 1), weights(50, dtype, 2)
    leaf = x.clone().requires_grad_()
    result = kantorch.solve_sample(leaf, y, a, b, reg=1e16)
    value, *_ = reference(torch.cdist(x.double(), y.double()).square(), a, b, 1e16)
    close(result.value, value, dtype)
    (gradient,) = torch.autograd.grad(result.value, leaf)
    close(gradient, 2 * a[:, None] * (x - b @ y), dtype)


@pytest.mark.parametrize("padding", [1.5, 1e6, -1e6, 1e30, -1e30])
def test_padding_changes_nothing_and_has_finite_potentials(dtype, padding):
    cost = torch.rand(6, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    a, b = weights(6, dtype, 1), weights(8, dtype, 2)
    alone = kantorch.solve(cost, a, b, reg=1e5)
    padded = torch.full((9, 10), padding, dtype=dtype)
    padded[:6, :8] = cost
    a, b = (torch.nn.functional.pad(w, (0, k)).requires_grad_() for w, k in ((a, 3), (b, 2)))
    result = kantorch.solve(padded, a, b, reg=1e5).check()
    assert torch.equal(result.value, alone.value)
    assert all(bool(p.isfinite().all()) for p in result.potentials)
    close(
        result.potential_a[:6] - result.potential_a[0],
        alone.potential_a - alone.potential_a[0],
        dtype,
    )
    # Of points without mass: the soft minimum of what the others leave of their costs.
    if padding == 1.5:
        g = result.potential_b[:8].double()
        soft = -1e5 * torch.log1p(torch.expm1((g - 1.5) / 1e5) @ b[:8].detach().double())
        close(result.potential_a[6], soft, torch.float32)


@pytest.mark.parametrize("max_iter", [1, 2, 50])
def test_fixed_iterations_are_plain_ones(dtype, max_iter):
    cost = torch.rand(6, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    a, b = weights(6, dtype, 1), weights(8, dtype, 2)
    start = torch.zeros(6, dtype=dtype), torch.rand(8, dtype=dtype)
    reg = 400.0
    result = kantorch.solve(cost, a, b, reg=reg, tol=0.0, max_iter=max_iter, potentials_init=start)
    assert result.status == int(Status.FIXED_ITERATIONS)
    assert result.n_iter == max_iter
    c, p, q, g = cost.double(), a.double(), b.double(), start[1].double()
    for _ in range(max_iter):
        f = -reg * torch.log1p(torch.expm1((g - c) / reg) @ q)
        g = -reg * torch.log1p(p @ torch.expm1((f[:, None] - c) / reg))
    f, g = f + (g.mean() - f.mean()) / 2, g + (f.mean() - g.mean()) / 2
    got = result.potential_a.double(), result.potential_b.double()
    close(got[0] - got[0].mean(), f - f.mean(), torch.float32)
    close(got[1] - got[1].mean(), g - g.mean(), torch.float32)


def test_a_warm_start_of_any_size_is_taken(dtype):
    cost = torch.rand(6, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    want = kantorch.solve(cost, reg=1e4)
    for size in (0.0, 1.0, 1e5, 1e20):
        start = torch.zeros(6, dtype=dtype), size * torch.arange(8.0, dtype=dtype)
        got = kantorch.solve(cost, reg=1e4, potentials_init=start).check()
        torch.testing.assert_close(got.value, want.value, rtol=1e-4, atol=0)
