"""Failures that users met in optimal transport libraries, each as the property that would have prevented it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import kantorch
import laws
import oracle


def both(cost, a, b):
    tensors = [torch.as_tensor(t, dtype=torch.float64) for t in (cost, a, b)]
    return kantorch.solve(*tensors), float(oracle.rational(*(t.numpy() for t in tensors)).value)


def test_two_by_two_with_unequal_weights_moves_all_mass():
    result, value = both([[0.0, 1.0], [1.0, 0.0]], [0.4, 0.6], [0.7, 0.3])
    assert float(result.plan.sum()) == pytest.approx(1.0)
    assert float(result.value) == pytest.approx(value, abs=1e-15)


def test_very_rectangular_problem_moves_all_mass(rng):
    cost = torch.from_numpy(rng.uniform(size=(15, 5000)))
    result = kantorch.solve(cost)
    assert float(result.plan.sum()) == pytest.approx(1.0, abs=1e-12)
    assert result.status == kantorch.Status.OPTIMAL


def test_constant_cost_between_different_sizes_is_feasible():
    result = kantorch.solve(torch.ones(292, 2, dtype=torch.float64))
    assert float(result.value) == pytest.approx(1.0, abs=1e-13)
    assert float(result.marginal_error) < 1e-13


@pytest.mark.parametrize("shape", [(5, 960), (960, 5), (7, 331)], ids=str)
def test_uniform_weights_that_do_not_sum_to_one_exactly_are_feasible(shape, rng):
    for _ in range(10):
        result = kantorch.solve(torch.from_numpy(rng.uniform(size=shape)))
        assert float(result.plan.sum()) == pytest.approx(1.0, abs=1e-12)


def test_softmax_weights_in_float32_are_feasible(method):
    generator = torch.Generator().manual_seed(0)
    for n in (10, 100, 1000):
        a, b = (torch.randn(n, generator=generator).softmax(0) for _ in range(2))
        options = {"max_iter": 20, "tol": 0.0} if method == "ipot" else {}
        result = laws.solve(method, torch.rand(n, n, generator=generator), a, b, **options)
        assert float(result.plan.sum()) == pytest.approx(1.0, abs=1e-4)


def test_integer_cost_is_refused_rather_than_truncated():
    with pytest.raises(TypeError):
        kantorch.solve(torch.tensor([[1, 2], [3, 4]]))


def test_costs_up_to_1e32_give_the_optimal_plan(rng):
    cost = 10.0 ** rng.uniform(-32, 32, size=(6, 6))
    result, value = both(cost, np.ones(6), np.ones(6))
    assert result.status == kantorch.Status.OPTIMAL
    # Duals of size 1e32 are rounded to 1e16: what can be asked for is relative to the span.
    assert value <= float(result.value) * (1 + 1e-14)
    assert float(result.value) <= value + 1e-14 * cost.max()


@pytest.mark.parametrize("scale", [1e-14, 1e-20, 1e-200])
def test_tiny_costs_give_the_optimal_plan(scale, rng):
    cost = rng.uniform(size=(5, 5))
    for _ in range(20):
        a, b = rng.integers(1, 9, size=(2, 5)).astype(float)
        b, a = b * a.sum(), a * b.sum()
        result, value = both(cost * scale, a, b)
        assert float(result.value) == pytest.approx(value, rel=1e-12)


def test_total_equals_flow_times_distance(rng):
    cost = torch.from_numpy(rng.uniform(size=(40, 30)) * 1000)
    result = kantorch.solve(cost)
    assert float(result.value) == pytest.approx(float((result.plan * cost).sum()), rel=1e-13)


@pytest.mark.parametrize("zeros", [1, 2, 5])
def test_zeros_in_a_histogram_do_not_loop_forever(zeros, rng):
    a, b = np.ones(8), np.ones(8)
    a[:zeros] = 0
    b[-zeros:] = 0
    cost = np.abs(np.arange(8)[:, None] - np.arange(8)).astype(float)
    result, value = both(cost, a, b)
    assert float(result.value) == value


@pytest.mark.parametrize("fill", [float("nan"), float("inf"), -float("inf")])
def test_cost_without_a_finite_entry_neither_hangs_nor_crashes(fill, method):
    with pytest.raises(ValueError, match="finite"):
        laws.solve(method, torch.full((30, 30), fill))


def test_infinite_diagonal_is_an_error_rather_than_a_zero_plan():
    cost = torch.ones(8, 8)
    cost.fill_diagonal_(float("inf"))
    with pytest.raises(ValueError, match=r"cost\[0, 0\] = inf"):
        kantorch.solve(cost)


def test_negative_cost_of_a_single_cell_is_feasible():
    assert float(kantorch.solve(torch.tensor([[-5.0]])).value) == -5.0
    result = kantorch.solve(torch.tensor([[-5.0, -6.0, -7.0]]).double())
    assert float(result.value) == pytest.approx(-6.0)


def test_one_iteration_is_not_presented_as_an_answer(rng):
    cost = torch.from_numpy(rng.uniform(size=(30, 30)))
    with pytest.warns(kantorch.ConvergenceWarning):
        result = kantorch.solve(cost, max_iter=1)
    assert not bool(result.converged)


def test_zero_weights_give_no_nan_in_log_domain(dtype):
    a = torch.tensor([0.5, 0.5, 0.0], dtype=dtype).requires_grad_()
    cost = torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]], dtype=dtype).requires_grad_()
    result = kantorch.solve(cost, a, a, reg=0.1)
    result.value.backward()
    assert bool(torch.isfinite(result.plan).all())
    assert bool(torch.isfinite(a.grad).all() & torch.isfinite(cost.grad).all())


@pytest.mark.parametrize("reg", [1e-3, 1e-4, 1e-5])
def test_small_strength_gives_neither_zero_nor_nan(reg, rng):
    x, y = np.sort(rng.normal(size=(2, 40)), axis=1)
    cost = torch.from_numpy((x[:, None] - y) ** 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        result = kantorch.solve(cost, reg=reg)
    exact = float(kantorch.solve(cost).value)
    error = float(result.marginal_error)
    assert float(result.value_linear) >= exact - error * float(cost.max())
    if bool(result.converged):
        # The bias of entropy is at most reg times the entropy of the plan.
        assert float(result.value_linear) <= exact + reg * np.log(1600) + error * float(cost.max())
    assert float(result.plan.sum()) == pytest.approx(1.0, abs=1e-2)


def test_annealing_does_not_get_stuck_above_the_tolerance(rng):
    for reg in (1e-1, 1e-2, 1e-3):
        x, y = rng.normal(size=(2, 50, 2))
        cost = torch.from_numpy(((x[:, None] - y) ** 2).sum(-1))
        result = kantorch.solve(cost, reg=reg)
        assert result.status == kantorch.Status.CONVERGED
        assert float(result.marginal_error) <= 1e-8


def test_proximal_method_beats_its_own_strength(rng):
    """Alternating with the product plan gives perfect marginals and a value far above the optimum."""
    cost = torch.from_numpy(
        ((rng.normal(size=(4, 30, 1, 2)) - rng.normal(size=(4, 1, 30, 2))) ** 2).sum(-1)
    )
    exact = kantorch.solve(cost).value
    ipot = kantorch.solve(cost, method="ipot", max_iter=2000, tol=0.0)
    assert bool((ipot.value_linear <= 1.01 * exact + 0.01).all())
    assert float(ipot.marginal_error.max()) < 1e-2


def test_gradient_is_not_twice_the_plan(rng):
    cost = torch.from_numpy(rng.uniform(size=(6, 6)))
    direction = torch.from_numpy(rng.normal(size=(6, 6)))
    for options in ({}, {"reg": 0.1, "tol": 1e-13}):
        leaf = cost.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(kantorch.solve(leaf, **options).value, leaf)
        step = 1e-5 * direction
        change = (
            kantorch.solve(cost + step, **options).value
            - kantorch.solve(cost - step, **options).value
        )
        assert float((gradient * direction).sum()) == pytest.approx(float(change) / 2e-5, rel=1e-5)


def test_double_backward_is_not_silently_wrong(rng):
    cost = torch.from_numpy(rng.uniform(size=(5, 6))).requires_grad_()
    direction = torch.from_numpy(rng.normal(size=(5, 6)))

    def gradient(c):
        return torch.autograd.grad(
            kantorch.solve(c, reg=0.2, tol=1e-13).value, c, create_graph=True
        )[0]

    (got,) = torch.autograd.grad((gradient(cost) * direction).sum(), cost)
    ahead, behind = (
        gradient((cost + s * direction).detach().requires_grad_()).detach() for s in (1e-5, -1e-5)
    )
    torch.testing.assert_close(got, (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-8)


def test_weight_gradients_are_there_and_centred(method, rng):
    a = torch.from_numpy(rng.dirichlet(np.ones(5))).requires_grad_()
    options = {"max_iter": 60, "tol": 0.0} if method == "ipot" else {}
    laws.solve(method, torch.from_numpy(rng.uniform(size=(5, 6))), a, **options).value.backward()
    assert a.grad is not None
    assert abs(float(a.grad.sum())) < 1e-12
    assert float(a.grad.abs().max()) > 0


def test_one_badly_scaled_problem_does_not_spoil_the_batch(rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 10, 10)))
    cost[2] *= 1000
    result = kantorch.solve(cost, reg=0.1, max_iter=10**5)
    assert bool(result.converged.all())
    assert float(result.marginal_error.max()) <= 1e-8


def test_float16_cost_gives_no_nan(rng):
    cost = torch.from_numpy(rng.uniform(size=(20, 20)) * 100).half()
    result = kantorch.solve(cost, reg=0.1)
    assert bool(torch.isfinite(result.plan).all())
    assert bool(result.converged)


def test_more_threads_are_not_a_trap(rng):
    cost = torch.from_numpy(rng.uniform(size=(8, 8)))
    laws.assert_same_bits(kantorch.solve(cost, num_threads=64), kantorch.solve(cost, num_threads=1))


def test_offsets_above_two_to_the_31_are_computed_in_64_bits():
    try:
        room = torch.empty(2**31 + 64)  # untouched pages take no memory
    except RuntimeError:
        pytest.skip("the machine does not promise 8 GiB")
    cost = room.as_strided((2, 4, 4), (2**31, 4, 1))
    cost.copy_(torch.arange(32.0).reshape(2, 4, 4) % 7)
    for options in ({}, {"reg": 1.0}):
        laws.assert_same_bits(
            kantorch.solve(cost, **options), kantorch.solve(cost.clone(), **options)
        )


def test_entropic_value_is_never_negative_for_equal_measures_of_zero_cost():
    cost = torch.zeros(7, 7, dtype=torch.float64)
    for reg in (1e-3, 1.0, 1e3):
        assert abs(float(kantorch.solve(cost, reg=reg).value)) <= 1e-14 * reg


def test_plan_of_both_reg_types_solves_its_own_objective(rng):
    """Defaults of the entropy differ between libraries and silently change the value; both are pinned here."""
    cost = torch.from_numpy(rng.uniform(size=(4, 5)))
    a, b = torch.full((4,), 0.25, dtype=torch.float64), torch.full((5,), 0.2, dtype=torch.float64)
    default = kantorch.solve(cost, a, b, reg=0.1).value
    kl = kantorch.solve(cost, a, b, reg=0.1, reg_type="kl").value
    entropy = kantorch.solve(cost, a, b, reg=0.1, reg_type="entropy").value
    assert torch.equal(default, kl)
    assert float(entropy - kl) == pytest.approx(-0.1 * (np.log(4) + np.log(5)), abs=1e-12)


def test_large_problem_of_equal_weights_terminates(rng):
    x, y = rng.integers(0, 5, size=(2, 300, 2)).astype(float)  # 25 distinct points: ties everywhere
    cost = torch.from_numpy(np.abs(x[:, None] - y).sum(-1))
    result = kantorch.solve(cost)
    laws.check(
        result,
        cost,
        torch.full((300,), 1 / 300, dtype=torch.float64),
        torch.full((300,), 1 / 300, dtype=torch.float64),
        method="exact",
    )
    assert result.status == kantorch.Status.OPTIMAL
