"""The potentials of a plan's scalings: eps log U and eps log V for the plan diag(U) exp(-C / eps) diag(V)."""

from __future__ import annotations

import torch
from torch import Tensor

from kantorch.ops import cost as costs
from kantorch.ops._backend import on_cuda
from kantorch.ops._define import define
from kantorch.ops._layout import scalars


def _kernel(
    cost: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    metric: str,
    f: Tensor,
    g: Tensor,
    a: Tensor,
    b: Tensor,
    eps: Tensor,
) -> tuple[Tensor, Tensor]:
    given = costs.cost_of(cost, x, y, metric)
    a = a.double().expand_as(f)
    b = b.double().expand_as(g)
    eps = scalars(eps, f.shape[0])
    f = f + eps[:, None] * torch.where(a > 0, a, 1).log()
    g = g + eps[:, None] * torch.where(b > 0, b, 1).log()
    # On CUDA the solver has written them, and looking for points without mass would wait for it.
    dead = (a == 0).any(-1) | (b == 0).any(-1)
    for k in [] if on_cuda(f.device) else torch.nonzero(dead)[:, 0].tolist():
        rows, columns = a[k] > 0, b[k] > 0
        if bool(rows.any()):
            slack = given.part(k, rows, ~columns).double() - f[k, rows, None]
            g[k, ~columns] = slack.amin(0)
        every = torch.ones_like(columns)
        f[k, ~rows] = (given.part(k, ~rows, every).double() - g[k]).amin(-1)
    top = torch.finfo(f.dtype).max
    return f.clamp(-top, top), g.clamp(-top, top)


def _fake(
    cost: Tensor | None,
    x: Tensor | None,
    y: Tensor | None,
    metric: str,
    f: Tensor,
    g: Tensor,
    a: Tensor,
    b: Tensor,
    eps: Tensor,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(f), torch.empty_like(g)


# (cost or points, f, g, a, b, eps) -> (eps log U, eps log V). At zero mass, where they are -inf, the c-transform stands
# in: the largest value that keeps the dual feasible there.
scaling_potentials = define(
    f"scaling_potentials({costs.SCHEMA}, Tensor f, Tensor g, Tensor a, Tensor b, Tensor eps) "
    "-> (Tensor, Tensor)",
    kernel=_kernel,
    fake=_fake,
    own_dims=(*costs.OWN_DIMS, 1, 1, 1, 1, 0),
)
