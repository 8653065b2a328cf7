"""Problems between points that are too large for a stored cost are solved as if it were stored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kantorch
import laws
from kantorch.costs import cost_matrix
from kantorch.ops.distance import distances, solved_distances
from scripts import run_script

METRICS = ["sqeuclidean", "euclidean", "cityblock", "chebyshev"]
N, M = 2101, 2003  # more than 2^22 costs, and no multiple of any block


@pytest.fixture(params=["sinkhorn", "ipot"])
def method(request):
    """A method that needs no stored cost."""
    return request.param


def options(method, **further):
    reg = {"reg": further.pop("reg", 0.1)} if method == "sinkhorn" else {}
    return {"method": method, **reg, "max_iter": 12, "tol": 0.0, **further}


def clouds(rng, dtype, n=N, m=M, d=3, lead=()):
    x, y = rng.normal(size=(*lead, n, d)) / 2, rng.uniform(size=(*lead, m, d))
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    a[3] = b[5] = 0
    a, b = a / a.sum(), b / b.sum()
    return [torch.from_numpy(t).to(dtype).requires_grad_() for t in (x, y, a, b)]


def dense(x, y, a=None, b=None, *, metric="sqeuclidean", **options):
    return kantorch.solve(cost_matrix(x, y, metric=metric), a, b, **options)


def close(got, want, rtol):
    scale = float(want.detach().abs().max())
    torch.testing.assert_close(got, want, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("metric", METRICS)
def test_equals_the_solve_on_the_cost_matrix(metric, method, dtype, rng):
    inputs = clouds(rng, dtype)
    got = kantorch.solve_sample(*inputs, metric=metric, **options(method))
    want = dense(*inputs, metric=metric, **options(method))
    rtol = 1e-11 if dtype == torch.float64 else 2e-5
    for name in ("value", "value_linear", "potential_a", "potential_b", "marginal_a", "marginal_b"):
        close(getattr(got, name), getattr(want, name), rtol)
    close(got.lower_bound, want.lower_bound, rtol)
    close(got.plan, want.plan, rtol)
    assert got.status == want.status == int(kantorch.Status.FIXED_ITERATIONS)
    for one, other in zip(
        torch.autograd.grad(got.value, inputs),
        torch.autograd.grad(want.value, inputs),
        strict=True,
    ):
        close(one, other, rtol)


@pytest.mark.parametrize("m", [1008, 1024])
def test_partial_sums_may_lie_further_apart(m, method, dtype, rng):
    inputs = clouds(rng, dtype, n=4200, m=m)
    got, want = (solve(*inputs, **options(method)) for solve in (kantorch.solve_sample, dense))
    rtol = 1e-11 if dtype == torch.float64 else 2e-5
    for name in ("value", "potential_b", "marginal_b", "lower_bound"):
        close(getattr(got, name), getattr(want, name), rtol)


@pytest.mark.parametrize("metric", METRICS)
def test_points_in_the_same_place_have_subgradient_zero(metric, dtype, rng):
    x = torch.from_numpy(rng.uniform(size=(2100, 3))).to(dtype).requires_grad_()
    solved = kantorch.solve_sample(
        x, x.detach().clone(), metric=metric, reg=1e-4, tol=0.0, max_iter=3
    )
    # Nearly all mass stays where it is.
    assert float(torch.autograd.grad(solved.value, x)[0].abs().max()) < 0.1 / 2100


@pytest.mark.parametrize("dims", [1, 2, 7, 64])
def test_any_number_of_coordinates(dims, dtype, rng):
    x, y, *_ = clouds(rng, dtype, d=dims)
    got = kantorch.solve_sample(x, y, reg=0.3 * dims, max_iter=5, tol=0.0)
    want = dense(x, y, reg=0.3 * dims, max_iter=5, tol=0.0)
    close(got.value, want.value, 1e-11 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("shift", [0, 1024])
@pytest.mark.parametrize("reg", [1.0, 0.3, 0.1, 0.03, 0.01])
def test_float32_keeps_its_digits_at_any_strength_and_place(shift, reg, rng):
    # Half of the points are pairs much closer to each other than to the centre.
    x, y, *_ = (p.detach() for p in clouds(rng, torch.float32))
    y[: M // 2] = x[: M // 2] + 2.0**-10
    x, y = x + shift, y + shift
    got = kantorch.solve_sample(x, y, reg=reg, max_iter=30, tol=0.0)
    want = dense(x.double(), y.double(), reg=reg, max_iter=30, tol=0.0)
    for name in ("potential_a", "potential_b"):
        error = (getattr(got, name).double() - getattr(want, name)).abs().max()
        assert float(error) <= 1e-5 * reg
    close(got.value.double(), want.value, 1e-5)


@pytest.mark.parametrize("shape", [(30, 40), (2100, 2000)], ids=str)
@pytest.mark.parametrize("apart", [0.0, 30.0, 1000.0])
@pytest.mark.parametrize("metric", METRICS)
def test_a_plan_of_float32_has_the_marginals_of_its_solve(metric, apart, shape, rng, method):
    """Costs that differ in the last digits from those solved would move it by these over reg."""
    x, y = (torch.from_numpy(rng.normal(size=(size, 3))).float() for size in shape)
    y = y + apart
    strength = {"reg": 0.03} if method == "sinkhorn" else {}
    found = {}
    for graph in (False, True):
        x = x.detach().requires_grad_(graph)
        result = kantorch.solve_sample(x, y, metric=metric, **options(method, **strength))
        plan = result.plan.detach().double()
        sums = (plan.sum(1), result.marginal_a), (plan.sum(0), result.marginal_b)
        assert sum((mine - told).abs().sum() for mine, told in sums) < 2e-5
        found[graph] = plan, result.value_linear.item()
    assert torch.equal(found[True][0], found[False][0])
    assert found[True][1] == pytest.approx(found[False][1], rel=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_solved_distances_have_the_gradient_of_distances(metric, rng):
    x, y = (torch.from_numpy(rng.normal(size=(2, size, 3))).requires_grad_() for size in (5, 7))
    solved, plain = solved_distances(x, y, metric), distances(x, y, metric)
    torch.testing.assert_close(solved, plain, rtol=1e-14, atol=1e-14)
    assert torch.equal(solved, solved_distances(x.detach(), y.detach(), metric))
    weight = torch.from_numpy(rng.normal(size=(2, 5, 7)))
    for one, other in zip(
        torch.autograd.grad(solved, (x, y), weight),
        torch.autograd.grad(plain, (x, y), weight),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_entropy_and_a_tolerance(dtype, rng):
    inputs = clouds(rng, dtype)
    chosen = {"reg": 0.05, "reg_type": "entropy", "tol": 1e-6}
    got = kantorch.solve_sample(*inputs, **chosen)
    want = dense(*inputs, **chosen)
    assert bool(got.converged)
    assert float(got.marginal_error.detach()) <= 1e-6
    close(got.value, want.value, 1e-6)


def test_slow_convergence_reaches_its_tolerance(dtype, rng):
    x, y, *_ = clouds(rng, dtype, d=2)
    got = kantorch.solve_sample(x, y, reg=2e-3, tol=1e-4)
    assert bool(got.converged)
    assert float((got.plan.sum(0) - got.marginal_b).detach().abs().sum()) < 1e-4


def test_potentials_of_a_result_start_the_next(dtype, rng):
    x, y, *_ = clouds(rng, dtype)
    first = kantorch.solve_sample(x, y, reg=0.05)
    again = kantorch.solve_sample(x, y, reg=0.05, potentials_init=first.potentials)
    assert int(again.n_iter) <= 4 < int(first.n_iter)


def test_second_derivatives_and_those_of_the_plan(rng):
    inputs = clouds(rng, torch.float64, n=2100, m=2001, d=2)
    weights = torch.from_numpy(rng.normal(size=(2100, 2001)))

    def derivatives(result):
        first = torch.autograd.grad(result.value, inputs[:2], create_graph=True)
        turned = sum((g * torch.cos(torch.arange(g.numel()).view_as(g))).sum() for g in first)
        second = torch.autograd.grad(turned, inputs[:2], retain_graph=True)
        of_plan = torch.autograd.grad((result.plan * weights).sum(), inputs, retain_graph=True)
        return *second, *of_plan, *torch.autograd.grad(result.value_linear, inputs)

    chosen = {"reg": 0.2, "tol": 1e-12}
    for one, other in zip(
        derivatives(kantorch.solve_sample(*inputs, **chosen)),
        derivatives(dense(*inputs, **chosen)),
        strict=True,
    ):
        close(one, other, 1e-7)


def test_batches_and_shared_clouds_and_weights(method, rng):
    x, y, a, _ = clouds(rng, torch.float64, n=640, m=500, lead=(4,))
    chosen = options(method)
    for cloud_x, cloud_y, weights in ((x, y, a), (x, y[0], a), (x[0], y, None)):
        got = kantorch.solve_sample(cloud_x, cloud_y, weights, None, **chosen)
        want = dense(cloud_x, cloud_y, weights, None, **chosen)
        close(got.value, want.value, 1e-11)
        leaves = [t for t in (cloud_x, cloud_y, weights) if t is not None]
        for one, other in zip(
            torch.autograd.grad(got.value.sum(), leaves),
            torch.autograd.grad(want.value.sum(), leaves),
            strict=True,
        ):
            close(one, other, 1e-10)


def test_batched_weights_share_the_clouds(rng):
    x, y, *_ = clouds(rng, torch.float64)
    a = torch.from_numpy(rng.dirichlet(np.ones(N), size=2))
    got = kantorch.solve_sample(x, y, a, **options("sinkhorn"))
    want = dense(x, y, a, **options("sinkhorn"))
    close(got.value, want.value, 1e-11)
    (one,), (other,) = (torch.autograd.grad(r.value.sum(), x) for r in (got, want))
    close(one, other, 1e-10)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(half, rng):
    x, y, *_ = (t.detach() for t in clouds(rng, half))
    got = kantorch.solve_sample(x, y, **options("sinkhorn"))
    assert got.value.dtype == torch.float32
    close(got.value, dense(x.float(), y.float(), **options("sinkhorn")).value, 1e-5)


def test_number_of_threads_changes_no_bit(method, dtype, rng):
    inputs = [t.detach() for t in clouds(rng, dtype)]
    inputs[0].requires_grad_()
    want = kantorch.solve_sample(*inputs, num_threads=1, **options(method))
    (gradient,) = torch.autograd.grad(want.value, inputs[0])
    for count in (2, 5):
        got = kantorch.solve_sample(*inputs, num_threads=count, **options(method))
        laws.assert_same_bits(got, want)
        assert torch.equal(torch.autograd.grad(got.value, inputs[0])[0], gradient)


def test_a_power_of_two_changes_no_bit_of_the_plan(method, dtype, rng):
    x, y, a, b = (t.detach() for t in clouds(rng, dtype))
    chosen = options(method)
    want = kantorch.solve_sample(x, y, a, b, **chosen)
    chosen = {**chosen, **({"reg": 0.1 * 2.0**20} if method == "sinkhorn" else {})}
    got = kantorch.solve_sample(x * 2**10, y * 2**10, a, b, **chosen)
    assert torch.equal(got.marginal_a, want.marginal_a)
    assert torch.equal(got.value, want.value * 2**20)


def test_coordinates_and_distances_that_are_not_finite_are_named(method, rng):
    x, y, *_ = (t.detach() for t in clouds(rng, torch.float32))
    bad = x.clone()
    bad[7, 1] = torch.nan
    with pytest.raises(ValueError, match=r"x must be finite: x\[7, 1\] = nan"):
        kantorch.solve_sample(bad, y, **options(method))
    far = y.clone()
    far[11, 2] = 1e25
    with pytest.raises(ValueError, match=r"cost must be finite: cost\[0, 11\] = inf"):
        kantorch.solve_sample(x, far, **options(method))


def test_inputs_changed_in_place_are_noticed(rng):
    x, y, *_ = (t.detach() for t in clouds(rng, torch.float64))
    result = kantorch.solve_sample(x, y, **options("sinkhorn"))
    x.add_(1)
    with pytest.raises(RuntimeError, match="x was changed in place"):
        result.plan  # noqa: B018


def test_small_eps_in_float32_keeps_the_digits_of_its_marginals(rng):
    x, y, *_ = (t.detach() for t in clouds(rng, torch.float32))
    got = kantorch.solve_sample(x, y, reg=1e-3, max_iter=8, tol=0.0)
    want = dense(x.double(), y.double(), reg=1e-3, max_iter=8, tol=0.0)
    close(got.value.double(), want.value, 1e-5)
    # The columns are exact at the end, in double.
    assert float((got.marginal_b - 1 / M).abs().sum()) < 1e-6


@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_levels_agree(level, method, dtype):
    code = f"""
    import torch, kantorch
    from kantorch import ops
    torch.manual_seed(3)
    x, y = torch.rand(2100, 3, dtype={dtype}), torch.rand(2000, 3, dtype={dtype})
    x.requires_grad_()
    def answer():
        r = kantorch.solve_sample(x, y, **{options(method)})
        return r.value.double(), torch.autograd.grad(r.value, x)[0].double()
    want = answer()
    try:
        ops.set_simd_level("{level}")
    except ValueError:
        print("absent")
    else:
        print(max(float((u - v).abs().max() / v.abs().max()) for u, v in zip(answer(), want)))
    """
    found = run_script(code)
    if found.strip() == "absent":
        pytest.skip(f"this machine or build has no {level}")
    assert float(found) < (1e-11 if dtype == torch.float64 else 2e-5)


def test_compiled_code_between_points(rng):
    x, y, *_ = clouds(rng, torch.float64)

    def value(x, y):
        return kantorch.solve_sample(x, y, **options("sinkhorn")).value

    compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, y), value(x, y))
    (one,) = torch.autograd.grad(compiled(x, y), x)
    (other,) = torch.autograd.grad(value(x, y), x)
    assert torch.equal(one, other)


def test_functional_gradients_between_points(rng):
    x, y, *_ = (t.detach() for t in clouds(rng, torch.float64))

    def value(x):
        return kantorch.solve_sample(x, y, **options("sinkhorn")).value

    leaf = x.clone().requires_grad_()
    close(torch.func.grad(value)(x), torch.autograd.grad(value(leaf), leaf)[0], 1e-10)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 17, 33])
def test_gradients_reach_the_last_row_of_every_group(n, dtype, rng):
    x, y = (torch.from_numpy(rng.normal(size=(k, 3))).to(dtype).requires_grad_() for k in (n, 12))
    options = {"reg": 1.0, "method": "sinkhorn"}
    ours = torch.autograd.grad(kantorch.solve_sample(x, y, **options).value, (x, y))
    stored = kantorch.solve(kantorch.costs.cost_matrix(x, y), **options)
    for gradient, expected in zip(ours, torch.autograd.grad(stored.value, (x, y)), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)
