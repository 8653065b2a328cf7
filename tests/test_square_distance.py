"""Distances by inner products lose no digits against differences of coordinates."""

from __future__ import annotations

import pytest
import torch

from kantorch.costs import cost_matrix
from kantorch.ops.square_distance import is_faster


def clouds(n: int, m: int, d: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n + m + d)
    x, y = (torch.randn(k, d, generator=generator, dtype=dtype) for k in (n, m))
    assert is_faster(x, y)
    return x, y


def differences(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.stack([(row - y.double()).square().sum(-1) for row in x.double()])


def near(x, y):
    y[:60] = x[:60] + 1e-4 * y[:60]  # a few pairs


def same(x, y):
    y[:50] = x[:50]


def clusters(x, y):
    centres = torch.randn(2, x.shape[1], generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    for points in (x, y):
        points *= 1e-3
        points += 100 * centres[torch.arange(len(points)) % 2]


def one_cluster(x, y):
    for points in (x, y):
        points *= 2.0**-10
        points += 1


def far_off(x, y):
    for points in (x, y):
        points[:] = (points * 1024).round() / 1024 + 1024  # held without rounding


def tiny(x, y):
    for points in (x, y):
        points *= torch.finfo(x.dtype).tiny ** 0.5 * 4


def huge(x, y):  # squares overflow, distances do not
    for points in (x, y):
        points.clamp_(-1, 1)
        points *= torch.finfo(x.dtype).max ** 0.5 / 2**5
    x[0], y[1] = 3e-2 * torch.finfo(x.dtype).max ** 0.5, 3e-2 * torch.finfo(x.dtype).max ** 0.5


CASES = [near, same, clusters, one_cluster, far_off, tiny, huge]


@pytest.mark.parametrize("case", CASES)
def test_no_digit_is_lost(case, dtype):
    x, y = clouds(150, 140, 64, dtype)
    case(x, y)
    cost, expected = cost_matrix(x, y), differences(x, y)
    eps, least = torch.finfo(dtype).eps, torch.finfo(dtype).tiny
    assert torch.isfinite(expected.to(dtype)).all()
    assert ((cost.double() - expected).abs() <= 16 * eps * expected + 64 * least).all()
    assert ((cost == 0) == (expected.to(dtype) == 0)).all()


def test_euclidean_is_its_root(dtype):
    x, y = clouds(150, 140, 64, dtype)
    same(x, y)
    assert torch.equal(cost_matrix(x, y, metric="euclidean"), cost_matrix(x, y).sqrt())


def test_a_batch_and_a_transform_change_no_bit(dtype):
    x, y = (points.repeat(3, 1, 1) for points in clouds(150, 140, 64, dtype))
    near(x[1], y[1])
    one_cluster(x[2], y[2])
    alone = torch.stack([cost_matrix(*pair) for pair in zip(x, y, strict=True)])
    assert torch.equal(cost_matrix(x, y), alone)
    assert torch.equal(torch.vmap(cost_matrix)(x, y), alone)
    shared = torch.vmap(cost_matrix, in_dims=(0, None))(x, y[0])
    assert torch.equal(shared, torch.stack([cost_matrix(points, y[0]) for points in x]))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_traced_and_compiled_functions_decide_anew_in_each_call(dtype):
    x, y = clouds(150, 140, 64, dtype)
    others = clouds(150, 140, 64, dtype)
    near(*others)
    traced = torch.jit.trace(cost_matrix, (x, y), check_trace=False)
    compiled = torch.compile(cost_matrix, fullgraph=True, backend="aot_eager")
    for points in ((x, y), others):
        expected = cost_matrix(*points)
        assert torch.equal(traced(*points), expected)
        assert torch.equal(compiled(*points), expected)


def test_gradients_are_those_of_differences():
    x, y = (p.requires_grad_() for p in clouds(150, 140, 64, torch.float64))
    for metric in ("sqeuclidean", "euclidean"):
        cost = cost_matrix(x, y, metric=metric)
        weight = torch.rand(cost.shape, generator=torch.Generator().manual_seed(1)).double()
        direct = (x[:, None] - y[None]).square().sum(-1)
        expected = direct if metric == "sqeuclidean" else direct.sqrt()
        ours = torch.autograd.grad((weight * cost).sum(), (x, y))
        theirs = torch.autograd.grad((weight * expected).sum(), (x, y))
        for gradient, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(gradient, other, rtol=1e-10, atol=1e-10)
