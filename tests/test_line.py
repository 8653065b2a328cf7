"""Points on a line: the answers of the network simplex from sorted points."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
import torch

import kantorch
from kantorch import ops
from kantorch._result import LineResult
from kantorch.costs import Points, cost_matrix


def solve(x, y, a, b, *, squared, threads=0):
    outputs = ops.line(x, y, a, b, None, None, squared, threads)
    batched = any(t.ndim == 2 for t in (x, y, a, b))
    points = Points(x.unsqueeze(-1), y.unsqueeze(-1), "sqeuclidean" if squared else "euclidean")
    return LineResult.of(points, a, b, outputs, batched)


def costs(x, y, squared):
    distance = (x[..., :, None] - y[..., None, :]).abs()
    return distance.square() if squared else distance


def points(rng, n, kind):
    if kind == "ties":
        return torch.from_numpy(rng.integers(-3, 4, n).astype(float))
    if kind == "wide":
        return torch.from_numpy(rng.normal(size=n) * 10.0 ** rng.integers(-12, 12, n))
    return torch.from_numpy(rng.normal(size=n) + (1e6 if kind == "far" else 0.0))


def weights(rng, n, m, kind):
    if kind == "uniform":
        return torch.full((n,), 1 / n, dtype=torch.float64), torch.full(
            (m,), 1 / m, dtype=torch.float64
        )
    if kind == "random":
        return tuple(torch.from_numpy(rng.dirichlet(np.ones(k))) for k in (n, m))
    a, b = (rng.integers(0, 4, k).astype(float) for k in (n, m))
    a[0] += a.sum() == 0
    b[0] += b.sum() == 0
    return torch.from_numpy(a * b.sum()), torch.from_numpy(b * a.sum())


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("mass", ["uniform", "random", "integers"])
@pytest.mark.parametrize("place", ["ties", "wide", "near", "far"])
def test_answer_is_that_of_the_simplex_and_proved_by_its_duals(place, mass, squared, rng):
    for _ in range(40):
        n, m = (int(k) for k in rng.integers(1, 14, 2))
        x, y = points(rng, n, place), points(rng, m, place)
        a, b = weights(rng, n, m, mass)
        cost = costs(x, y, squared)
        top, total = float(cost.max()), float(a.sum())
        result = solve(x, y, a, b, squared=squared)
        assert result.status == kantorch.Status.OPTIMAL
        expected = kantorch.solve(cost, a, b).value
        torch.testing.assert_close(result.value, expected, rtol=0, atol=1e-13 * top * total)
        f, g = result.potentials
        assert float((cost - f[:, None] - g).min()) >= -1e-14 * max(top, float(f.abs().max()))
        assert float(abs(result.value - a @ f - b @ g)) <= 1e-13 * top * total
        plan = result.plan
        assert float(plan.min()) >= 0
        assert int((plan > 0).sum()) <= n + m - 1
        torch.testing.assert_close(plan.sum(1), a, rtol=0, atol=1e-14 * total)
        torch.testing.assert_close(plan.sum(0), b, rtol=0, atol=1e-14 * total)
        assert result.lower_bound <= result.value


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("place", ["ties", "wide", "near", "far"])
def test_potentials_are_feasible_but_for_their_last_digits(place, squared, rng):
    for _ in range(4):
        n, m = (int(k) for k in rng.integers(10, 30, 2))
        x, y = points(rng, n, place), points(rng, m, place)
        f, g = solve(x, y, *weights(rng, n, m, "random"), squared=squared).potentials
        for i in range(n):
            for j in range(m):
                distance = abs(Fraction(float(x[i])) - Fraction(float(y[j])))
                cost = distance**2 if squared else distance
                last_digits = Fraction(2) ** -52 * Fraction(float(abs(f[i]) + abs(g[j])))
                assert Fraction(float(f[i])) + Fraction(float(g[j])) <= cost + last_digits


@pytest.mark.parametrize("n", [1500, 70_000])
def test_many_points_agree_with_scipy(n, rng):
    x, y = rng.normal(size=n), rng.normal(size=n - 7) + 0.3
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n - 7))
    result = solve(*map(torch.from_numpy, (x, y, a, b)), squared=False)
    expected = scipy.stats.wasserstein_distance(x, y, a, b)
    assert float(result.value) == pytest.approx(expected, rel=1e-11)
    assert result.status == kantorch.Status.OPTIMAL
    assert float(result.gap) <= 1e-11


def test_no_cost_is_stored(rng):
    n = 300_000  # the costs would take 720 GB
    x, y = (torch.from_numpy(rng.normal(size=n)) for _ in range(2))
    a = torch.full((n,), 1 / n, dtype=torch.float64)
    result = solve(x, y, a, a, squared=True)
    expected = (x.sort().values - y.sort().values).square().mean()
    torch.testing.assert_close(result.value, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(result.marginal_a, a, rtol=1e-12, atol=0)


@pytest.mark.parametrize("squared", [False, True])
def test_batches_share_what_is_not_batched(squared, rng):
    x = torch.from_numpy(rng.normal(size=(3, 6)))
    y = torch.from_numpy(rng.normal(size=5))
    a, b = weights(rng, 6, 5, "random")
    together = solve(x, y, a, b, squared=squared)
    for k in range(3):
        alone = solve(x[k], y, a, b, squared=squared)
        for name in ("value", "plan", "potential_a", "potential_b"):
            assert torch.equal(getattr(together, name)[k], getattr(alone, name))


def test_threads_and_the_unit_of_the_points_change_no_bit(rng):
    x, y = (torch.from_numpy(rng.normal(size=(2, 3000))) for _ in range(2))
    a, b = weights(rng, 3000, 3000, "random")
    first = ops.line(x, y, a, b, None, None, True, 1)
    assert all(map(torch.equal, first, ops.line(x, y, a, b, None, None, True, 2)))
    scaled = ops.line(x * 2.0**40, y * 2.0**40, a, b, None, None, True, 2)
    assert torch.equal(scaled[0], first[0] * 2.0**80)
    assert torch.equal(scaled[5], first[5])


@pytest.mark.parametrize("squared", [False, True])
def test_gradients_are_those_of_the_cost_matrix(squared, rng):
    x, y = (torch.from_numpy(rng.normal(size=k)).requires_grad_() for k in (7, 9))
    a, b = (w.requires_grad_() for w in weights(rng, 7, 9, "random"))
    ours = torch.autograd.grad(ops.line(x, y, a, b, None, None, squared, 0)[0].sum(), (x, y, a, b))
    value = kantorch.solve(costs(x, y, squared), a, b).value
    for gradient, expected in zip(ours, torch.autograd.grad(value, (x, y, a, b)), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_op_follows_the_rules_of_torch(rng):
    x, y = (torch.from_numpy(rng.normal(size=k)).requires_grad_() for k in (4, 5))
    a, b = weights(rng, 4, 5, "random")
    torch.library.opcheck(torch.ops.kantorch.line.default, (x, y, a, b, None, None, True, 1))


def test_float32_points_are_computed_in_float64(rng):
    x, y = (torch.from_numpy(rng.normal(size=50)).float() for _ in range(2))
    a = torch.full((50,), 1 / 50)
    result = solve(x, y, a, a, squared=True)
    assert result.value.dtype == torch.float32
    exact = solve(x.double(), y.double(), a.double(), a.double(), squared=True)
    torch.testing.assert_close(result.value, exact.value.float(), rtol=0, atol=0)


@pytest.mark.cpu
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_points_that_are_not_finite_are_named(bad):
    x, y = torch.tensor([[0.0], [bad]]), torch.tensor([[1.0], [2.0]])
    with pytest.raises(ValueError, match=rf"^x must be finite: x\[1, 0\] = {bad}"):
        kantorch.solve_sample(x, y)
    with pytest.raises(ValueError, match=rf"^y must be finite: y\[1, 0\] = {bad}"):
        kantorch.solve_sample(y, x)


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("dtype", "metric", "far"),
    [
        (torch.float32, "sqeuclidean", 1e25),
        (torch.float32, "euclidean", 3e38),
        (torch.float64, "sqeuclidean", 1e200),
        (torch.float64, "cityblock", 1.5e308),
    ],
)
def test_costs_that_are_not_finite_are_named(dtype, metric, far):
    x = torch.tensor([0.0, 1.0, far], dtype=dtype)[:, None]
    y = torch.tensor([1.0, -far], dtype=dtype)[:, None]
    first = [2, 1] if metric in ("euclidean", "cityblock") else [0, 1]
    with pytest.raises(ValueError, match=rf"^cost must be finite: cost\[{first[0]}, 1\] = inf"):
        kantorch.solve_sample(x, y, metric=metric)
    batch = (torch.stack([torch.zeros_like(points), points]) for points in (x, y))
    with pytest.raises(ValueError, match=rf"^cost must be finite: cost\[1, {first[0]}, 1\] = inf"):
        kantorch.solve_sample(*batch, metric=metric)
    # Each problem is judged by its own points.
    low, high = torch.full_like(x, -far), torch.full_like(y, far)
    result = kantorch.solve_sample(
        torch.stack([low, -low]), torch.stack([-high, high]), metric=metric
    )
    assert result.value.tolist() == [0, 0]


@pytest.mark.cpu
def test_weights_are_checked():
    x = torch.zeros(2).double()
    half, off = torch.full((2,), 0.5).double(), torch.tensor([0.5, -0.5]).double()
    with pytest.raises(ValueError, match=r"a must be non-negative: a\[1\] = -0.5"):
        ops.line(x, x, off, half, None, None, True, 1)
    with pytest.raises(ValueError, match="same total mass"):
        ops.line(x, x, half, 2 * half, None, None, True, 1)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock", "chebyshev"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_solve_sample_needs_no_cost_on_a_line(metric, dtype, rng):
    x, y = (torch.from_numpy(rng.normal(size=(k, 1))).to(dtype).requires_grad_() for k in (20, 30))
    result = kantorch.solve_sample(x, y, metric=metric)
    assert isinstance(result, LineResult)
    expected = kantorch.solve(cost_matrix(x, y, metric=metric))
    torch.testing.assert_close(result.value, expected.value)
    gradients = (torch.autograd.grad(r.value, (x, y)) for r in (result, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.cpu
def test_solve_sample_on_a_line_checks_its_arguments():
    x = torch.rand(3, 1)
    for bad in ({"max_iter": 0}, {"num_threads": 0}, {"tol": -1.0}, {"a": torch.rand(2)}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            kantorch.solve_sample(x, x, **bad)
    with pytest.raises(ValueError, match="potentials_init"):
        kantorch.solve_sample(x, x, potentials_init=(torch.zeros(3), torch.full((3,), torch.inf)))
