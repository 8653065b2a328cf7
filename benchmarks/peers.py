"""What kantorch is raced against: other libraries if installed, and plain torch loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor


def installed(*names: str) -> Any:
    """Import a peer, or skip the benchmark visibly."""
    return pytest.importorskip(names[0], reason=f"peer {names[0]} is not installed")


def torch_sinkhorn(cost: Tensor, a: Tensor, b: Tensor, reg: float, iterations: int) -> Tensor:
    """Log-domain Sinkhorn as it is written in a few lines of torch; returns the plan's cost."""
    log_a, log_b = a.log(), b.log()
    kernel = -cost / reg
    g = torch.zeros_like(b)
    for _ in range(iterations):
        f = log_a - torch.logsumexp(kernel + g.unsqueeze(-2), -1)
        g = log_b - torch.logsumexp(kernel + f.unsqueeze(-1), -2)
    plan = torch.exp(kernel + f.unsqueeze(-1) + g.unsqueeze(-2))
    return (plan * cost).sum((-2, -1))


def torch_ipot(cost: Tensor, a: Tensor, b: Tensor, beta: float, iterations: int) -> Tensor:
    """The inexact proximal point method with a dense plan, one inner step; returns its cost."""
    kernel = torch.exp(-cost / beta)
    plan = torch.ones_like(cost)
    right = torch.full_like(b, 1 / b.shape[-1])
    for _ in range(iterations):
        proximal = kernel * plan
        left = a / (proximal * right.unsqueeze(-2)).sum(-1)
        right = b / (proximal * left.unsqueeze(-1)).sum(-2)
        plan = left.unsqueeze(-1) * proximal * right.unsqueeze(-2)
    return (plan * cost).sum((-2, -1))


def fma_pass(cost: Tensor, iterations: int) -> Callable[[], float]:
    """The floor for one iteration over a stored matrix: two matrix-vector products in torch."""
    ones = torch.ones_like(cost[..., :1, :]).mT / math.sqrt(cost.shape[-1])

    def run() -> float:
        v = ones
        for _ in range(iterations):
            v = cost.mT @ (cost @ v)
            v = v / v.abs().amax()
        return float(v.sum())

    return run
