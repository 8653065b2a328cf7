"""Every SIMD level of the processor gives the right answer, and the same one up to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kantorch
import laws
import oracle
import problems
from kantorch import ops

LEVELS = ["baseline", "avx2", "avx512"]


@pytest.fixture(params=LEVELS)
def level(request):
    before = ops.simd_level()
    try:
        ops.set_simd_level(request.param)
    except ValueError:
        pytest.skip(f"this processor has no {request.param}")
    yield request.param
    ops.set_simd_level(before)


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("problem", problems.catalogue(3), ids=repr)
def test_exact_value_is_the_known_one(problem, dtype):
    cast = problem.to(dtype)
    result = kantorch.solve(cast.cost, cast.a, cast.b)
    atol = 1e-13 if dtype == torch.float64 else 2e-6
    assert abs(float(result.value) - problem.value) <= atol * problem.scale * problem.mass
    laws.check(result, cast.cost, cast.a, cast.b, method="exact")


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (17, 16), (40, 33)], ids=str)
def test_iterations_are_the_plain_ones(shape, dtype, rng):
    cost = rng.uniform(size=shape).astype(np.float32).astype(float)
    a, b = (rng.dirichlet(np.ones(k)) for k in shape)
    b *= a.sum() / b.sum()
    tensors = [torch.from_numpy(t).to(dtype) for t in (cost, a, b)]
    rtol, atol = (1e-9, 1e-15) if dtype == torch.float64 else (1e-4, 1e-7)
    sinkhorn = kantorch.solve(*tensors, reg=0.05, max_iter=20, tol=0.0)
    want = oracle.sinkhorn(cost, a, b, 0.05, 20).plan
    np.testing.assert_allclose(sinkhorn.plan.double(), want, rtol=rtol, atol=atol)
    ipot = kantorch.solve(*tensors, method="ipot", beta=0.5, max_iter=20, tol=0.0)
    want = oracle.ipot(cost, a, b, 0.5, 20)
    np.testing.assert_allclose(ipot.plan.double(), want, rtol=rtol, atol=atol)


@pytest.mark.usefixtures("level")
def test_strides_and_threads_change_no_bit(method, dtype, rng):
    cost = torch.from_numpy(rng.uniform(size=(5, 33, 20))).to(dtype)
    options = {"max_iter": 30, "tol": 0.0} if method == "ipot" else {}
    want = laws.solve(method, cost, num_threads=1, **options)
    laws.assert_same_bits(
        laws.solve(method, cost.mT.contiguous().mT, num_threads=4, **options), want
    )
