"""What CUDA does otherwise than the CPU: on a GPU, or emulated (KANTORCH_EMULATION=1 and a build that has it)."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch

import kantorch
import oracle
from kantorch.ops import _backend

EMULATED = _backend.EMULATED and not _backend.why_no_cuda()
ON_GPU = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(
            EMULATED or not kantorch.show_config()["cuda_available"],
            reason="no CUDA device, or no CUDA kernels in this build",
        ),
    ],
)
ON_HOST = pytest.param(
    "cpu", marks=pytest.mark.skipif(not EMULATED, reason="CUDA kernels are not emulated")
)
on_gpu = pytest.mark.parametrize("where", [ON_GPU])
anywhere = pytest.mark.parametrize("where", [ON_GPU, ON_HOST])


@anywhere
@pytest.mark.parametrize("shape", [(3, 4), (20, 31), (66, 9), (2, 130), (40, 140)], ids=str)
def test_fixed_iterations_are_the_plain_ones(where, shape, dtype, rng):
    cost = torch.from_numpy(rng.uniform(size=shape)).to(dtype)
    result = kantorch.solve(cost.to(where), reg=0.1, max_iter=5, tol=0.0)
    a, b = (torch.full((size,), 1 / size, dtype=torch.float64).numpy() for size in shape)
    want = oracle.sinkhorn(cost.double().numpy(), a, b, 0.1, 5)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    torch.testing.assert_close(
        result.plan.double().cpu(), torch.from_numpy(want.plan), rtol=10 * tolerance, atol=tolerance
    )
    assert int(result.status) == kantorch.Status.FIXED_ITERATIONS


@anywhere
@pytest.mark.parametrize("steps", [1, 2, 7, 70])
@pytest.mark.parametrize(
    "shape", [(3, 4), (20, 31), (34, 20), (66, 9), (2, 130), (40, 140)], ids=str
)
def test_fixed_steps_of_ipot_are_the_plain_ones(where, shape, steps, dtype, rng):
    cost = torch.from_numpy(rng.uniform(size=shape)).to(dtype)
    result = kantorch.solve(cost.to(where), method="ipot", beta=0.2, max_iter=steps, tol=0.0)
    a, b = (torch.full((size,), 1 / size, dtype=torch.float64).numpy() for size in shape)
    want = oracle.ipot(cost.double().numpy(), a, b, 0.2, steps)
    tolerance = 1e-11 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(
        result.plan.double().cpu(), torch.from_numpy(want), rtol=10 * tolerance, atol=tolerance
    )
    assert int(result.status) == kantorch.Status.FIXED_ITERATIONS


@anywhere
@pytest.mark.parametrize("shape", [(5, 7), (12, 9), (3, 66)], ids=str)
def test_ipot_ends_as_on_the_cpu(where, shape, dtype, rng, monkeypatch):
    """In fewer steps than come before Newton's method, which is not there on CUDA."""
    cost = torch.from_numpy(rng.uniform(size=(3, *shape))).to(dtype)
    a, b = (torch.from_numpy(rng.dirichlet([1] * size, 3)).to(dtype) for size in shape)
    options = {"method": "ipot", "tol": 4e-2, "max_iter": 24}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        result = kantorch.solve(*(t.to(where) for t in (cost, a, b)), **options)
    monkeypatch.setattr(_backend, "EMULATED", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        want = kantorch.solve(cost, a, b, **options)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    assert torch.equal(result.status.cpu(), want.status)
    assert torch.equal(result.n_iter.cpu(), want.n_iter)
    torch.testing.assert_close(result.plan.cpu(), want.plan, rtol=0, atol=tolerance)
    torch.testing.assert_close(result.gap.cpu(), want.gap, rtol=0, atol=10 * tolerance)


@anywhere
@pytest.mark.parametrize("height", [0.0, 1e3])
def test_slow_problems_of_ipot_are_left_to_newton(where, dtype, height, rng):
    cost = torch.from_numpy(rng.uniform(size=(3, 12, 10))).to(dtype)
    a, b = (torch.from_numpy(rng.dirichlet([1] * size, 3)).to(dtype) for size in (12, 10))
    a, b = torch.nn.functional.pad(a, (0, 1)), torch.nn.functional.pad(b, (0, 2))
    cost = torch.nn.functional.pad(cost, (0, 2, 0, 1), value=height)
    result = kantorch.solve(*(t.to(where) for t in (cost, a, b)), method="ipot")
    assert bool(result.converged.all())
    assert int(result.n_iter.max()) < 1500
    want = kantorch.solve(cost, a, b)
    allowed = 1e-8 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(result.value.cpu(), want.value, rtol=0, atol=allowed)
    assert bool((result.lower_bound.cpu() <= want.value + allowed * 1e-3).all())


@anywhere
@pytest.mark.parametrize("options", [{"reg": 0.2}, {"method": "ipot"}], ids=["sinkhorn", "ipot"])
def test_blocked_cells_of_any_height_are_gone_around(where, options, dtype, rng):
    cost = torch.from_numpy(rng.uniform(size=(6, 7))).to(dtype)
    blocked = torch.from_numpy(rng.random((6, 7)) < 0.2)
    expected = kantorch.solve(cost.masked_fill(blocked, 1e7).to(where), **options)
    assert bool(expected.converged)
    heights = [1e9, 1e20, 1e38] + [1e200, 1e300] * (dtype == torch.float64)
    stack = torch.stack([cost.masked_fill(blocked, height) for height in heights])
    result = kantorch.solve(stack.to(where), **options)
    assert bool(result.converged.all())
    tolerance = 1e-6 if dtype == torch.float64 else 1e-4
    for plan in result.plan:
        torch.testing.assert_close(plan, expected.plan, rtol=0, atol=tolerance)


@anywhere
def test_a_problem_of_ipot_that_has_not_converged_says_so(where, rng):
    cost = torch.from_numpy(rng.uniform(size=(9, 8))).to(where)
    result = kantorch.solve(cost, method="ipot", max_iter=20)
    assert int(result.status) == kantorch.Status.MAX_ITERATIONS
    with pytest.raises(kantorch.ConvergenceError, match="raise max_iter"):
        result.check()


@anywhere
def test_bad_steps_of_ipot_end_their_own_problem(where):
    cost = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    beta = torch.tensor([0.1, -1.0, torch.nan, 0.0], dtype=torch.float64)
    result = kantorch.solve(cost.to(where), method="ipot", beta=beta.to(where), tol=1e-2)
    assert result.status.tolist() == [1, *[kantorch.Status.BAD_INPUT] * 3]
    assert result.value.isnan().tolist() == [False, True, True, True]


@anywhere
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (70, 60), (300, 3), (2, 520)], ids=str)
def test_exact_answers_are_those_of_the_cpu(where, shape, dtype, rng, monkeypatch):
    cost = torch.from_numpy(rng.uniform(size=(2, *shape))).to(dtype)
    cost[1] = torch.where(cost[1] > 0.8, 1e30, (4 * cost[1]).round())  # ties, and blocked cells
    a, b = (torch.from_numpy(rng.dirichlet([1] * size, 2)).to(dtype) for size in shape)
    result = kantorch.solve(*(t.to(where) for t in (cost, a, b)))
    monkeypatch.setattr(_backend, "EMULATED", False)
    want = kantorch.solve(cost, a, b)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    assert torch.equal(result.status.cpu(), want.status)
    torch.testing.assert_close(result.value.cpu(), want.value, rtol=tolerance, atol=0)
    torch.testing.assert_close(result.plan[0].cpu(), want.plan[0], rtol=0, atol=tolerance)
    f, g = (x.double() for x in result.potentials)
    size = torch.stack([x.abs().amax() for x in (cost.double(), f, g)]).max()
    reduced = cost.double().to(where) - f[..., None] - g[..., None, :]
    assert bool((reduced >= -tolerance * size).all())


@anywhere
def test_an_exact_limit_holds_for_each_problem(where, rng):
    cost = torch.from_numpy(rng.uniform(size=(2, 12, 9)))
    cost[1] = 1.0
    result = kantorch.solve(cost.to(where), max_iter=2)
    assert result.status.tolist() == [kantorch.Status.MAX_ITERATIONS, kantorch.Status.OPTIMAL]
    assert result.n_iter[0] == 2
    assert bool((result.marginal_error < 1e-12).all())


@anywhere
@pytest.mark.parametrize("options", [{}, {"reg": 0.1}, {"method": "ipot", "tol": 1e-2}], ids=str)
def test_a_bad_problem_ends_alone_and_nothing_raises(where, options):
    cost = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(1))
    cost[1, 2, 3] = torch.nan
    result = kantorch.solve(cost.to(where), **options)
    good = kantorch.Status.CONVERGED if options else kantorch.Status.OPTIMAL
    assert result.status.tolist() == [good, kantorch.Status.BAD_INPUT, good]
    assert result.value.isnan().tolist() == [False, True, False]
    assert bool(result.plan[1].isnan().any())
    assert not bool(result.plan[[0, 2]].isnan().any())
    with pytest.raises(kantorch.ConvergenceError):
        result.check()


@anywhere
@pytest.mark.parametrize("options", [{"reg": 0.1}, {"method": "ipot"}], ids=str)
def test_a_launch_is_bounded(where, options):
    with pytest.raises(ValueError, match="max_iter must be at most 262144 on CUDA with tol = 0"):
        kantorch.solve(torch.rand(3, 4, device=where), tol=0.0, max_iter=2**30, **options)


@on_gpu
@pytest.mark.parametrize(
    "options",
    [
        "max_iter=1000",
        *(
            f"{form}, max_iter=20, tol=0.0"
            for form in ("reg=0.1", "method='ipot', beta=0.1", "method='ipot'")
        ),
    ],
)
@pytest.mark.parametrize("side", [20, 700])
def test_a_first_call_can_be_captured(where, options, side):
    code = f"""
import torch, kantorch
cost = torch.rand(4, {side}, {side}, device="cuda")
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    value = kantorch.solve(cost, {options}).value
cost.copy_(torch.rand(4, {side}, {side}))
graph.replay()
torch.testing.assert_close(value, kantorch.solve(cost, {options}).value, rtol=0, atol=0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@on_gpu
def test_the_current_stream_is_used_and_bits_repeat(where):
    cost = torch.rand(64, 40, 40, device=where)
    want = kantorch.solve(cost, reg=0.05).value
    with torch.cuda.stream(torch.cuda.Stream()):
        moved = cost * 1
        got = kantorch.solve(moved, reg=0.05).value
        torch.cuda.current_stream().synchronize()
    assert torch.equal(got, want)


@anywhere
@pytest.mark.parametrize("options", [{"reg": 0.05}, {"method": "ipot", "tol": 1e-2}], ids=str)
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_problems_of_several_blocks_are_solved_in_a_batch_as_alone(where, options, batch):
    draw = torch.Generator().manual_seed(3)
    cost = torch.rand(batch, 70, 150, generator=draw).to(where)
    together = kantorch.solve(cost, **options)
    assert bool((together.status == int(kantorch.Status.CONVERGED)).all())
    for k in {0, batch - 1}:
        alone = kantorch.solve(cost[k], **options)
        for name in ("value", "potential_a", "potential_b", "marginal_error", "n_iter"):
            assert torch.equal(getattr(together, name)[k], getattr(alone, name)), name


@anywhere
@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock", "chebyshev"])
def test_gradients_in_points_are_those_through_the_cost(where, metric):
    draw = torch.Generator().manual_seed(2)
    x, y = (torch.rand(2, size, 35, generator=draw, dtype=torch.float64) for size in (9, 37))
    x, y = (points.to(where).requires_grad_() for points in (x, y))
    got = torch.autograd.grad(
        kantorch.solve_sample(x, y, reg=0.3, metric=metric, tol=1e-12).value.sum(), (x, y)
    )
    cost = kantorch.costs.cost_matrix(x, y, metric=metric)
    want = torch.autograd.grad(kantorch.solve(cost, reg=0.3, tol=1e-12).value.sum(), (x, y))
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
