"""What is particular to CUDA; everything else is tested there through the `device` fixture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kantorch
import laws
import problems
from kantorch import Status

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def options(method):
    return {"max_iter": 60, "tol": 0.0} if method == "ipot" else {}


def random_batch(rng, size, n, m, dtype=torch.float64):
    parts = (
        rng.uniform(size=(size, n, m)),
        rng.dirichlet(np.ones(n), size),
        rng.dirichlet(np.ones(m), size),
    )
    return tuple(torch.from_numpy(t).to(dtype) for t in parts)


def cuda(*tensors):
    return tuple(t.cuda() for t in tensors)


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 5, 8), (3, 64, 64), (2, 300, 200)], ids=str)
def test_answers_equal_those_of_the_cpu(shape, method, dtype, rng):
    inputs = random_batch(rng, *shape, dtype)
    extra = {
        **options(method),
        **({"tol": 1e-12} if method == "sinkhorn" and dtype == torch.float64 else {}),
    }
    want = laws.solve(method, *inputs, **extra)
    got = laws.solve(method, *cuda(*inputs), **extra)
    rtol, atol = (1e-8, 1e-10) if dtype == torch.float64 else (2e-4, 2e-5)
    for name in ("value", "value_linear", "plan", "marginal_a", "marginal_b"):
        x, y = getattr(got, name).cpu(), getattr(want, name)
        torch.testing.assert_close(x, y, rtol=rtol, atol=atol, msg=name)


def test_gradients_equal_those_of_the_cpu(method, rng):
    gradients = []
    inputs = random_batch(rng, 3, 9, 11)
    for leaves in (inputs, cuda(*inputs)):
        leaves = [t.clone().requires_grad_() for t in leaves]
        value = laws.solve(method, *leaves, **options(method)).value
        gradients.append(torch.autograd.grad(value.sum(), leaves))
    for got, want in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(got.cpu(), want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["plan", "value_linear"])
def test_implicit_gradients_equal_those_of_the_cpu(name, rng):
    inputs = random_batch(rng, 2, 9, 11)
    weight = torch.from_numpy(rng.normal(size=(2, 9, 11)))
    gradients = []
    for leaves in (inputs, cuda(*inputs)):
        leaves = [t.clone().requires_grad_() for t in leaves]
        field = getattr(kantorch.solve(*leaves, reg=0.1, tol=1e-12), name)
        loss = (field * weight.to(field.device)).sum() if name == "plan" else field.sum()
        gradients.append(torch.autograd.grad(loss, leaves))
    for got, want in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(got.cpu(), want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("fault", ["nan cost", "inf cost", "negative mass", "masses differ"])
def test_bad_problem_gets_a_status_and_leaves_the_others_alone(fault, method, rng):
    cost, a, b = random_batch(rng, 4, 6, 7)
    want = laws.solve(method, *cuda(cost, a, b), **options(method))
    if fault.endswith("cost"):
        cost[2, 3, 4] = float(fault.split()[0])
    elif fault == "negative mass":
        a[2, 1] = -1.0
    else:
        b[2] *= 2
    got = laws.solve(method, *cuda(cost, a, b), **options(method))
    assert got.status[2] == Status.BAD_INPUT
    assert bool(got.value[2].isnan())
    assert bool(got.plan[2].isnan().any())
    good = torch.tensor([0, 1, 3], device="cuda")
    for name in laws.FIELDS:
        assert torch.equal(getattr(got, name)[good], getattr(want, name)[good]), name
    with pytest.raises(kantorch.ConvergenceError):
        got.check()


def test_solve_runs_on_the_current_stream(method, rng):
    cost, a, b = cuda(*random_batch(rng, 4, 64, 64))
    want = laws.solve(method, cost, a, b, **options(method)).value
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        moved = cost * 1.0  # ready only after the sleep, on this stream
        got = laws.solve(method, moved, a, b, **options(method)).value
    stream.synchronize()
    assert torch.equal(got, want)


def test_repetition_changes_no_bit(method, rng):
    inputs = cuda(*random_batch(rng, 5, 40, 33))
    want = laws.solve(method, *inputs, **options(method))
    for _ in range(10):
        laws.assert_same_bits(laws.solve(method, *inputs, **options(method)), want)


def test_place_in_the_batch_changes_no_bit(method, rng):
    cost, a, b = cuda(*random_batch(rng, 5, 40, 33))
    together = laws.solve(method, cost, a, b, **options(method))
    alone = laws.solve(method, cost[3], a[3], b[3], **options(method))
    assert torch.equal(together.plan[3], alone.plan)


def test_strides_change_no_bit(method, rng):
    cost, a, b = cuda(*random_batch(rng, 3, 17, 20))
    want = laws.solve(method, cost, a, b, **options(method))
    laws.assert_same_bits(
        laws.solve(method, cost.mT.contiguous().mT, a, b, **options(method)), want
    )


def test_sinkhorn_and_ipot_do_not_synchronise(rng):
    cost, a, b = cuda(*random_batch(rng, 3, 17, 20))
    for method in ("sinkhorn", "ipot"):
        extra = {"max_iter": 20, "tol": 0.0}
        laws.solve(method, cost, a, b, **extra)
        torch.cuda.set_sync_debug_mode("error")
        try:
            laws.solve(method, cost, a, b, **extra)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_planted_problems_are_solved(method, dtype):
    for problem in problems.catalogue():
        cast = problem.to(dtype, "cuda")
        if method == "exact":
            result = kantorch.solve(cast.cost, cast.a, cast.b)
            assert abs(float(result.value) - problem.value) <= 2e-6 * problem.scale * problem.mass


def test_import_and_cpu_solves_take_no_gpu_memory():
    from scripts import run_script

    code = """
    import torch
    import kantorch
    kantorch.solve(torch.rand(9, 9), reg=0.1)
    print(torch.cuda.is_initialized())
    """
    assert run_script(code).strip() == "False"
