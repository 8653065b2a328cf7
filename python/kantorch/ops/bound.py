"""A certified lower bound on the unregularised optimum, from any potentials."""

from __future__ import annotations

from torch import Tensor

from kantorch.ops import cost as costs
from kantorch.ops._backend import Execution, core
from kantorch.ops._define import define
from kantorch.ops._layout import contiguous


def _kernel(
    cost: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    metric: str,
    f: Tensor,
    g: Tensor,
    a: Tensor,
    b: Tensor,
    threads: int,
) -> Tensor:
    problem = costs.cost_of(cost, x, y, metric).problem(a, b, f[..., 0])
    bound = f.new_empty(problem.batch)
    if problem.batch:
        core.dual_bound(problem, contiguous(f), contiguous(g), bound, Execution.of(f, threads))
    return bound


def _fake(
    cost: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    metric: str,
    f: Tensor,
    g: Tensor,
    a: Tensor,
    b: Tensor,
    threads: int,
) -> Tensor:
    return f.new_empty(f.shape[0])


# (cost or points, f (B, n), g (B, m), a, b, threads) -> (B,): the value of the feasible dual point that
# c-transforms make from f and g, in float64.
dual_bound = define(
    f"dual_bound({costs.SCHEMA}, Tensor f, Tensor g, Tensor a, Tensor b, int threads) -> Tensor",
    kernel=_kernel,
    fake=_fake,
    own_dims=(*costs.OWN_DIMS, 1, 1, 1, 1, None),
)
