"""A small problem for each CUDA kernel, for compute-sanitizer."""

from __future__ import annotations

import torch

import kantorch

for dtype in (torch.float32, torch.float64):
    for n, m in ((5, 7), (33, 20), (66, 9), (2, 130)):
        cost = torch.rand(2, n, m, dtype=dtype, device="cuda")
        assert bool((kantorch.solve(cost).status == kantorch.Status.OPTIMAL).all())
        for reg in (0.1, 0.005):
            result = kantorch.solve(cost, reg=reg, max_iter=60)
            assert bool(result.plan.isfinite().all())
            assert bool((result.gap > -1e-3).all())
        for beta in (None, 0.001):
            result = kantorch.solve(cost, method="ipot", beta=beta, max_iter=60)
            assert bool(result.plan.isfinite().all())
    for n, m in ((70, 80), (300, 5), (2, 520)):  # the exact solver's kernels for more nodes
        cost = torch.rand(2, n, m, dtype=dtype, device="cuda")
        assert bool((kantorch.solve(cost).status == kantorch.Status.OPTIMAL).all())
    x, y = (torch.rand(20, 3, dtype=dtype, device="cuda") for _ in "xy")
    assert bool(kantorch.solve_sample(x, y, reg=0.1).value.isfinite())
torch.cuda.synchronize()
