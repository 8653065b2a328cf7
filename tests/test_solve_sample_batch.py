"""A problem between points is solved to the same bits in any batch."""

from __future__ import annotations

import pytest
import torch

import kantorch

METRICS = ["sqeuclidean", "euclidean", "cityblock", "chebyshev"]


def options(method):
    reg = {"reg": 0.7} if method == "sinkhorn" else {}
    limits = {} if method == "exact" else {"max_iter": 5, "tol": 0.0}
    return {"method": method, **reg, **limits}


def clouds(rng, batch, n, m, d, dtype):
    return [
        torch.from_numpy(rng.normal(size=(batch, k, d))).to(dtype).requires_grad_() for k in (n, m)
    ]


def answer(x, y, metric, method):
    result = kantorch.solve_sample(x, y, metric=metric, **options(method))
    return result, torch.autograd.grad(result.value.sum(), (x, y))


# A problem of up to 2^22 numbers is stored by the core, a larger one is not, whatever the batch holds.
@pytest.mark.parametrize(
    ("batch", "n", "m", "d"),
    [
        (3, 7, 5, 1),
        (270, 7, 5, 3),
        (20, 256, 250, 2),
        (3, 40, 33, 70),
        (3, 130, 120, 80),
        (2, 2100, 2000, 2),
    ],
)
@pytest.mark.parametrize("metric", METRICS)
def test_a_batch_changes_no_bit_of_its_problems(metric, batch, n, m, d, method, dtype, rng):
    if method == "exact" and n > 1000:
        pytest.skip("an exact solve stores its costs at any size")
    x, y = clouds(rng, batch, n, m, d, dtype)
    together, gradients = answer(x, y, metric, method)
    for k in {0, batch // 2, batch - 1}:
        alone = [p[k].detach().requires_grad_() for p in (x, y)]
        single, of_single = answer(*alone, metric, method)
        for name in ("value", "plan", "potential_a", "potential_b", "marginal_a", "lower_bound"):
            assert torch.equal(getattr(together, name)[k], getattr(single, name)), name
        for one, other in zip(gradients, of_single, strict=True):
            assert torch.equal(one[k], other)
