"""`solve_sample` is `solve` on the cost matrix of the points, with derivatives in the points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

import kantorch
import laws

METRICS = ["sqeuclidean", "euclidean", "cityblock", "chebyshev"]


def options(method):
    extra = {"max_iter": 60, "tol": 0.0} if method == "ipot" else {}
    return {**laws.arguments(method, reg=0.5), **extra}


def matrix(x, y, metric):
    difference = x[..., :, None, :] - y[..., None, :, :]
    return {
        "sqeuclidean": lambda: (difference**2).sum(-1),
        "euclidean": lambda: (difference**2).sum(-1).sqrt(),
        "cityblock": lambda: difference.abs().sum(-1),
        "chebyshev": lambda: difference.abs().amax(-1),
    }[metric]()


def points(rng, lead=(), n=6, m=7, d=3):
    return tuple(torch.from_numpy(rng.normal(size=(*lead, k, d))) for k in (n, m))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("lead", [(), (3,)], ids=str)
def test_equals_solve_on_the_cost_matrix(metric, lead, method, dtype, rng):
    x, y = (t.to(dtype) for t in points(rng, lead))
    got = kantorch.solve_sample(x, y, metric=metric, **options(method))
    want = kantorch.solve(matrix(x, y, metric), **options(method))
    rtol = 1e-9 if dtype == torch.float64 else 1e-4
    for name in ("value", "value_linear", "plan", "lower_bound", "marginal_a", "marginal_b"):
        torch.testing.assert_close(
            getattr(got, name), getattr(want, name), rtol=rtol, atol=rtol / 10, msg=name
        )
    a = torch.full((6,), 1 / 6, dtype=dtype)
    b = torch.full((7,), 1 / 7, dtype=dtype)
    reg = options(method).get("reg")
    laws.check(
        got, matrix(x, y, metric), a.expand(*lead, 6), b.expand(*lead, 7), method=method, reg=reg
    )


def test_default_metric_is_squared_without_a_half(rng):
    x, y = points(rng)
    got = kantorch.solve_sample(x, y).value
    torch.testing.assert_close(got, kantorch.solve(matrix(x, y, "sqeuclidean")).value)


def test_weights_and_shared_points(method, rng):
    x, y = points(rng)
    a = torch.from_numpy(rng.dirichlet(np.ones(6), size=3))
    got = kantorch.solve_sample(x, y, a, **options(method))
    want = kantorch.solve(matrix(x, y, "sqeuclidean"), a, **options(method))
    assert got.plan.shape == (3, 6, 7)
    torch.testing.assert_close(got.plan, want.plan, rtol=1e-9, atol=1e-12)


def test_one_side_batched(rng):
    x, y = points(rng, (3,))
    got = kantorch.solve_sample(x, y[0], reg=0.5)
    want = kantorch.solve_sample(x, y[:1].repeat(3, 1, 1), reg=0.5)
    torch.testing.assert_close(got.plan, want.plan)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", ["exact", "sinkhorn"])
def test_gradcheck_in_the_points(metric, method, rng):
    x, y = (t.requires_grad_() for t in points(rng, n=4, m=5, d=2))
    extra = {"reg": 0.5, "tol": 1e-14} if method == "sinkhorn" else {}

    def value(x, y):
        return kantorch.solve_sample(x, y, metric=metric, **extra).value

    assert gradcheck(value, (x, y), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_equal_those_through_the_cost_matrix(metric, method, rng):
    leaves = [t.requires_grad_() for t in points(rng, (2,))]
    leaves.append(torch.from_numpy(rng.dirichlet(np.ones(6), size=2)).requires_grad_())
    got = torch.autograd.grad(
        kantorch.solve_sample(*leaves, metric=metric, **options(method)).value.sum(), leaves
    )
    through = kantorch.solve(matrix(leaves[0], leaves[1], metric), leaves[2], **options(method))
    want = torch.autograd.grad(through.value.sum(), leaves)
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("metric", METRICS)
def test_gradient_at_zero_distance_is_finite(metric, method, rng):
    x, _ = points(rng)
    x.requires_grad_()
    value = kantorch.solve_sample(x, x.detach().clone(), metric=metric, **options(method)).value
    (gradient,) = torch.autograd.grad(value, x)
    assert bool(torch.isfinite(gradient).all())
    if method == "exact":
        assert value.item() == 0
        assert bool((gradient == 0).all())


def test_coincident_points_cost_nothing_in_float32(rng):
    # A Gram matrix |x|^2 + |y|^2 - 2 <x, y> would leave rounding of size |x|^2.
    x = torch.from_numpy(rng.normal(size=(8, 3))).float() + 1000
    for metric in METRICS:
        assert float(kantorch.solve_sample(x, x.flip(0).clone(), metric=metric).value) == 0


def test_translation_is_recovered(dtype):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(12, 2))).to(dtype)
    shift = torch.tensor([3.0, -1.0], dtype=dtype)
    result = kantorch.solve_sample(x, x.flip(0) + shift)
    assert float(result.value) == pytest.approx(10.0, rel=1e-6)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half, rng):
    x, y = (t.to(half) for t in points(rng))
    got = kantorch.solve_sample(x, y, reg=0.5)
    want = kantorch.solve_sample(x.float(), y.float(), reg=0.5)
    assert got.value.dtype == torch.float32
    assert torch.equal(got.plan, want.plan)


def test_threads_change_no_bit(method, rng):
    x, y = points(rng, (5,), 40, 30)
    results = [kantorch.solve_sample(x, y, num_threads=k, **options(method)) for k in (1, 4)]
    laws.assert_same_bits(*results)


def test_strides_change_no_bit(method, rng):
    x, y = points(rng)
    strided = x.T.contiguous().T
    laws.assert_same_bits(
        kantorch.solve_sample(strided, y, **options(method)),
        kantorch.solve_sample(x, y, **options(method)),
    )


def test_empty_batch_gives_empty_results(method):
    result = kantorch.solve_sample(torch.rand(0, 4, 2), torch.rand(0, 5, 2), **options(method))
    for name, shape in laws.field_shapes((0,), 4, 5).items():
        assert getattr(result, name).shape == shape, name


@pytest.mark.parametrize(
    ("x", "y", "kind", "words"),
    [
        (None, torch.ones(2, 2), TypeError, ["x"]),
        (torch.ones(2, 2), [[1.0, 2.0]], TypeError, ["y"]),
        (torch.ones(2, 2, dtype=torch.int64), torch.ones(2, 2), TypeError, ["x", "int64"]),
        (torch.ones(2, 2), torch.ones(2, 2).double(), TypeError, ["y", "float64"]),
        (torch.ones(2, 2), torch.ones(2, 3), ValueError, ["2", "3"]),
        (torch.ones(2), torch.ones(2, 2), ValueError, ["x"]),
        (torch.ones(2, 2), torch.ones(1, 1, 2, 2), ValueError, ["y"]),
        (torch.ones(0, 2), torch.ones(3, 2), ValueError, ["empty", "x"]),
        (torch.ones(3, 2), torch.ones(0, 2), ValueError, ["empty", "y"]),
        (torch.ones(2, 3, 2), torch.ones(4, 3, 2), ValueError, ["2", "4"]),
        (
            torch.tensor([[0.0, float("nan")]]),
            torch.ones(2, 2),
            ValueError,
            ["x", "finite", "[0, 1]", "nan"],
        ),
        (
            torch.ones(2, 2),
            torch.tensor([[0.0, float("inf")]]),
            ValueError,
            ["y", "finite", "[0, 1]", "inf"],
        ),
    ],
)
def test_bad_points_are_named(x, y, kind, words, method):
    with pytest.raises(kind) as caught:
        kantorch.solve_sample(x, y, **options(method))
    for word in words:
        assert word in str(caught.value)


def test_unknown_metric_lists_the_choices():
    with pytest.raises(ValueError, match="sqeuclidean") as caught:
        kantorch.solve_sample(torch.ones(2, 2), torch.ones(2, 2), metric="manhatten")
    assert "metric" in str(caught.value)
    assert "euclidean" in str(caught.value)


def test_unconverged_solve_warns(rng):
    x, y = points(rng, n=30, m=30)
    with pytest.warns(kantorch.ConvergenceWarning):
        kantorch.solve_sample(x, y, reg=0.01, max_iter=1)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_weights_go_with_the_points(half):
    x = torch.rand(4, 2).to(half)
    weights = torch.full((4,), 0.25, dtype=half)
    result = kantorch.solve_sample(x, x, weights, weights)
    assert result.plan.dtype == torch.float32
    torch.testing.assert_close(result.plan, torch.eye(4) / 4)
