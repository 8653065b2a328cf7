"""Every way to solve, as a function of one tensor: of a cost, or of points between others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import kantorch

Function = Callable[[Tensor], Tensor]

OPTIONS = {
    "exact": {},
    "sinkhorn": {"reg": 0.5, "tol": 1e-13},
    "ipot": {"method": "ipot", "max_iter": 40, "tol": 0.0},
}
SOLVERS = ("exact", "sinkhorn", "ipot", "line", "exact points", "sinkhorn points", "ipot points")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def solver(name: str) -> tuple[tuple[int, ...], Callable[..., kantorch.OTResult]]:
    """The shape of what a solver is differentiated in, and the solver; of points also a second argument."""
    if name in OPTIONS:
        return (3, 4), lambda cost: kantorch.solve(cost, **OPTIONS[name])
    y = targets(name)
    options = OPTIONS["exact" if name == "line" else name.removesuffix(" points")]
    return (3, y.shape[1]), lambda x, y=y: kantorch.solve_sample(x, y, **options)


def targets(name: str) -> Tensor:
    """The points to which a solver between points goes if it is told no others."""
    return draw(4, 1 if name == "line" else 2, seed=1)


def differentiable(name: str) -> tuple[str, ...]:
    return ("value", "value_linear", "plan") if "sinkhorn" in name else ("value", "value_linear")


DIFFERENTIABLE = [(name, output) for name in SOLVERS for output in differentiable(name)]


def field(name: str, output: str) -> tuple[tuple[int, ...], Function]:
    shape, solve = solver(name)
    return shape, lambda x: getattr(solve(x), output)


def weights(shape: torch.Size) -> Tensor:
    """Different ones, no sums of one of i and one of j, made without a generator, which vmap refuses."""
    return 1.5 + torch.arange(shape.numel(), dtype=torch.float64).square().sin().reshape(shape)


def weighted(function: Function) -> Function:
    def loss(x: Tensor) -> Tensor:
        out = function(x)
        return (out * weights(out.shape)).sum()

    return loss
