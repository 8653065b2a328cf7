"""What a build without CUDA kernels does on a machine that has a GPU."""

from __future__ import annotations

import pytest
import torch

import kantorch

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(
        bool(kantorch.show_config()["cuda_built"]), reason="this build has CUDA kernels"
    ),
]


def test_cuda_tensors_are_refused_by_name(method):
    cost = torch.rand(4, 5, device="cuda")
    strength = {"reg": 0.1} if method == "sinkhorn" else {}
    with pytest.raises(ValueError, match=r"cost must be on the cpu, got cuda:0"):
        kantorch.solve(cost, method=method, **strength)
    assert bool(kantorch.solve(cost.cpu(), method="exact").converged)


def test_weights_on_another_device_are_refused_by_name():
    with pytest.raises(ValueError, match=r"a must be on the cpu"):
        kantorch.solve(torch.rand(4, 5), torch.full((4,), 0.25, device="cuda"))


def test_points_on_a_gpu_are_refused_by_name():
    x = torch.rand(4, 2, device="cuda")
    with pytest.raises(ValueError, match=r"x must be on the cpu"):
        kantorch.solve_sample(x, x)
