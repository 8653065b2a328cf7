"""Tensors without values go through every method between points and on a cost."""

from __future__ import annotations

import pytest
import torch

import kantorch


@pytest.mark.parametrize("dims", [1, 2])
def test_meta_tensors_give_shapes(method, dims, dtype):
    options = {"reg": 1.0} if method == "sinkhorn" else {}
    x, y, cost = (
        torch.empty(s, device="meta", dtype=dtype) for s in ((3, dims), (4, dims), (3, 4))
    )
    results = [
        kantorch.solve(cost, method=method, **options),
        kantorch.solve_sample(x, y, method=method, **options),
        kantorch.solve(cost, potentials_init=(cost[:, 0], cost[0]), method=method, **options),
    ]
    for result in results:
        assert result.value.is_meta
        assert result.value.shape == ()
        assert result.value.dtype == dtype
    assert kantorch.costs.cost_matrix(x, y).shape == (3, 4)
