"""A batch gives each problem the answer that it gets alone."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import kantorch
import laws
import problems


def options(method):
    return {"max_iter": 60, "tol": 0.0} if method == "ipot" else {}


def random_batch(rng, size, n, m):
    parts = (
        rng.uniform(size=(size, n, m)),
        rng.dirichlet(np.ones(n), size),
        rng.dirichlet(np.ones(m), size),
    )
    return tuple(torch.from_numpy(t) for t in parts)


def assert_is_loop(together, alone):
    for i, one in enumerate(alone):
        for name in laws.FIELDS:
            assert torch.equal(getattr(together, name)[i], getattr(one, name)), f"{name}[{i}]"


@pytest.mark.parametrize("shape", [(1, 1), (4, 7), (8, 8), (33, 17), (64, 64)], ids=str)
def test_batch_equals_loop_to_the_bit(shape, method, dtype, rng):
    cost, a, b = (t.to(dtype) for t in random_batch(rng, 9, *shape))
    together = laws.solve(method, cost, a, b, **options(method))
    assert_is_loop(
        together, [laws.solve(method, *x, **options(method)) for x in zip(cost, a, b, strict=True)]
    )


def test_gradients_of_a_batch_equal_those_of_a_loop_to_the_bit(method, rng):
    inputs = [t.requires_grad_() for t in random_batch(rng, 5, 6, 7)]
    together = torch.autograd.grad(
        laws.solve(method, *inputs, **options(method)).value.sum(), inputs
    )
    for i in range(5):
        single = [t[i].detach().requires_grad_() for t in inputs]
        alone = torch.autograd.grad(laws.solve(method, *single, **options(method)).value, single)
        for k in range(3):
            assert torch.equal(together[k][i], alone[k])


def test_one_dimensional_weights_are_shared(method, rng):
    cost, a, b = random_batch(rng, 4, 5, 6)
    shared = laws.solve(method, cost, a[0], b[0], **options(method))
    spread = laws.solve(method, cost, a[:1].repeat(4, 1), b[:1].repeat(4, 1), **options(method))
    laws.assert_same_bits(shared, spread)


def test_one_side_shared_and_one_not(method, rng):
    cost, a, b = random_batch(rng, 4, 5, 6)
    shared = laws.solve(method, cost, a[0], b, **options(method))
    spread = laws.solve(method, cost, a[:1].repeat(4, 1), b, **options(method))
    laws.assert_same_bits(shared, spread)


@pytest.mark.parametrize("which", ["a", "b", "both"])
def test_matrix_cost_is_shared_by_a_batch_of_weights(which, method, rng):
    cost, a, b = random_batch(rng, 4, 5, 6)
    weights = (None if which == "b" else a, None if which == "a" else b)
    shared = laws.solve(method, cost[0], *weights, **options(method))
    spread = laws.solve(method, cost[:1].repeat(4, 1, 1), *weights, **options(method))
    laws.assert_same_bits(shared, spread)
    assert shared.plan.shape == (4, 5, 6)


def test_matrix_cost_is_shared_by_a_batch_of_strengths(rng):
    cost = torch.from_numpy(rng.uniform(size=(5, 6)))
    reg = torch.tensor([0.05, 0.5], dtype=torch.float64)
    together = kantorch.solve(cost, reg=reg)
    assert_is_loop(together, [kantorch.solve(cost, reg=float(r)) for r in reg])


def test_batch_of_one_keeps_its_dimension(method, rng):
    cost, a, b = random_batch(rng, 1, 5, 6)
    result = laws.solve(method, cost, a, b, **options(method))
    assert result.value.shape == (1,)
    assert result.plan.shape == (1, 5, 6)


@pytest.mark.parametrize("given", ["cost", "weights", "strength"])
def test_empty_batch_gives_empty_results(given, method, dtype):
    cost = torch.rand(0, 4, 5, dtype=dtype) if given == "cost" else torch.rand(4, 5, dtype=dtype)
    a = torch.rand(0, 4, dtype=dtype) if given == "weights" else None
    b = torch.rand(0, 5, dtype=dtype) if given == "weights" else None
    extra = {}
    if given == "strength":
        if method != "sinkhorn":
            pytest.skip("only Sinkhorn has a strength")
        extra = {"reg": torch.rand(0, dtype=dtype)}
    result = laws.solve(method, cost, a, b, **extra)
    for name, shape in laws.field_shapes((0,), 4, 5).items():
        assert getattr(result, name).shape == shape, name
    assert result.check() is result


def test_gradient_of_an_empty_batch_is_empty(method):
    cost = torch.rand(0, 4, 5, requires_grad=True)
    laws.solve(method, cost).value.sum().backward()
    assert cost.grad.shape == (0, 4, 5)


@pytest.mark.parametrize("n_pad", [0, 3])
@pytest.mark.parametrize("m_pad", [1, 4])
def test_padding_with_zero_weights_changes_no_answer(n_pad, m_pad, method, rng):
    problem = problems.planted_float(rng, 5, 6)
    cost = torch.full((5 + n_pad, 6 + m_pad), 0.5, dtype=torch.float64)
    cost[:5, :6] = problem.cost
    cost[5:] = -7.0
    a, b = torch.zeros(5 + n_pad).double(), torch.zeros(6 + m_pad).double()
    a[:5], b[:6] = problem.a, problem.b
    padded = laws.solve(method, cost, a, b, **options(method))
    plain = laws.solve(method, problem.cost, problem.a, problem.b, **options(method))
    # A different length changes the order of summation, so equal up to rounding.
    torch.testing.assert_close(padded.value, plain.value, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(padded.plan[:5, :6], plain.plan, rtol=1e-7, atol=1e-10)
    assert float(padded.plan[5:].sum()) == 0
    assert float(padded.plan[:, 6:].sum()) == 0


def test_ragged_batch_gets_unpadded_gradients(method, rng):
    items = [problems.planted_float(rng, n, m) for n, m in ((3, 4), (6, 5), (2, 7))]
    cost, a, b = (
        torch.zeros(3, 6, 7).double(),
        torch.zeros(3, 6).double(),
        torch.zeros(3, 7).double(),
    )
    for i, p in enumerate(items):
        n, m = p.cost.shape
        cost[i, :n, :m], a[i, :n], b[i, :m] = p.cost, p.a, p.b
    cost.requires_grad_()
    (padded,) = torch.autograd.grad(
        laws.solve(method, cost, a, b, **options(method)).value.sum(), cost
    )
    for i, p in enumerate(items):
        n, m = p.cost.shape
        leaf = p.cost.clone().requires_grad_()
        (plain,) = torch.autograd.grad(
            laws.solve(method, leaf, p.a, p.b, **options(method)).value, leaf
        )
        torch.testing.assert_close(padded[i, :n, :m], plain, rtol=1e-7, atol=1e-10)


def test_extreme_neighbour_changes_no_bit(method, rng):
    cost, a, b = random_batch(rng, 4, 6, 6)
    calm = laws.solve(method, cost, a, b, **options(method))
    wild = cost.clone()
    wild[2] *= 1e12
    wild[3] = problems.planted_degenerate(rng, 6, 6).cost
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        stormy = laws.solve(method, wild, a, b, **options(method))
    for name in laws.FIELDS:
        assert torch.equal(getattr(calm, name)[:2], getattr(stormy, name)[:2]), name


@pytest.mark.parametrize("small", [1e-290, 1e-304, 1e-310])
@pytest.mark.parametrize("beta", [None, 0.3])
def test_a_neighbour_at_the_end_of_the_range_changes_no_bit(beta, small, method, rng):
    cost = torch.from_numpy(rng.uniform(-1, 1, (3, 5, 6)))
    cost[0] *= small
    cost[2] *= 1.7e308
    given = {"beta": beta * small} if method == "ipot" and beta else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        batch = laws.solve(method, cost, **options(method), **given)
        for k in range(3):
            alone = laws.solve(method, cost[k], **options(method), **given)
            for name in laws.FIELDS:
                batched, single = getattr(batch, name)[k], getattr(alone, name)
                assert torch.equal(batched.nan_to_num(), single.nan_to_num()), (k, name)


def test_problem_without_mass_leaves_its_neighbours_alone(method, rng):
    cost, a, b = random_batch(rng, 3, 4, 5)
    a[1], b[1] = 0, 0
    result = laws.solve(method, cost, a, b, **options(method))
    assert float(result.value[1]) == 0
    alone = laws.solve(method, cost[2], a[2], b[2], **options(method))
    assert torch.equal(result.plan[2], alone.plan)


def test_each_problem_stops_on_its_own(rng):
    easy = torch.zeros(6, 6, dtype=torch.float64)
    hard = problems.planted_permutation(rng, 6).cost
    result = kantorch.solve(torch.stack([easy, hard]), reg=0.01)
    assert int(result.n_iter[0]) < int(result.n_iter[1])


@pytest.mark.parametrize("padding", [1e3, 1e6, 1e9])
def test_expensive_padding_costs_the_real_points_nothing(method, padding, rng):
    cost = torch.from_numpy(rng.uniform(size=(6, 7)))
    a, b = (torch.from_numpy(rng.dirichlet(np.ones(k))) for k in (6, 7))
    padded = torch.full((9, 12), padding, dtype=torch.float64)
    padded[:6, :7] = cost
    pad = torch.nn.functional.pad
    strength = {"exact": {}, "sinkhorn": {"reg": 0.05}, "ipot": {"method": "ipot", "tol": 1e-5}}
    alone = kantorch.solve(cost, a, b, **strength[method])
    result = kantorch.solve(padded, pad(a, (0, 3)), pad(b, (0, 5)), **strength[method])
    assert bool(result.converged)
    # Both are within the tolerance of the one answer.
    torch.testing.assert_close(result.plan[:6, :7], alone.plan, rtol=0, atol=1e-7)
    torch.testing.assert_close(result.gap, alone.gap, rtol=1e-6, atol=1e-9)
