"""The public functions: `solve` for a cost, `solve_sample` for points."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from kantorch import _check, ops
from kantorch._result import ExactResult, IpotResult, LineResult, OTResult, SinkhornResult
from kantorch.costs import Metric, cost_matrix, points_of
from kantorch.ops._define import values_are_at_hand

Method = Literal["auto", "exact", "sinkhorn", "ipot"]
RegType = Literal["kl", "entropy"]

_DEFAULT_MAX_ITER = 10_000


def solve(
    cost: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    reg: float | Tensor | None = None,
    reg_type: RegType = "kl",
    method: Method = "auto",
    beta: float | Tensor | None = None,
    max_iter: int | None = None,
    tol: float | None = None,
    potentials_init: tuple[Tensor, Tensor] | None = None,
    num_threads: int | None = None,
) -> OTResult:
    r"""Solve optimal transport problems, one or a batch, and differentiate through the answer.

    .. math:: \min_P \langle P, C \rangle + \mathrm{reg}\, \Omega(P)
        \quad \text{over } P \ge 0,\; P 1 = a,\; P^T 1 = b

    Args:
        cost: (n, m) or (B, n, m), finite, any strides. float16 and bfloat16 are computed, and their
            results returned, in float32.
        a: (n,) or (B, n), non-negative, in the cost's dtype; None means 1/n each. 1-D weights are shared
            by the batch. Points without mass get zero rows; so ragged batches are padded, best with
            costs of the size of the others, since the mean in the gradients runs over all points.
        b: (m,) or (B, m), likewise. Its total mass may differ from a's by a relative 1e-5 and is
            rescaled to it.
        reg: None for no regularisation; a float > 0 or a Tensor () or (B,), in the unit of the cost, for
            entropic regularisation.
        reg_type: "kl" for ``reg * sum P log(P / (a b^T))``, "entropy" for ``reg * sum P log P``.
        method: "exact" (network simplex, or a faster exact algorithm where one applies), "sinkhorn",
            "ipot" (proximal point), or "auto": exact if reg is None, else sinkhorn.
        beta: IPOT's proximal step, a float > 0 or a Tensor () or (B,), in the unit of the cost. None means
            0.1 * mean(cost - min cost) over the points with mass; with a tolerance, without
            blocked cells, see there.
        max_iter: full iterations of Sinkhorn, outer steps of IPOT (default 10 000 each), pivots or
            augmentations of the exact solver (default unlimited).
        tol: L1 error of both marginals relative to the mass, for IPOT also the gap relative to the
            spread of the cost; of a long tail, such as blocked cells, costs beyond 64 times those of the
            cheapest quarter count only as far as the plan pays them, or where rounding allows no better. None means 1e-5 in float32, 1e-8 in
            float64. 0.0 means exactly `max_iter` plain iterations; otherwise slowly converging problems end
            with Newton's method, each step of which counts as an iteration. The exact solver is exact and
            ignores it.
        potentials_init: (f, g) to start from, (n,) and (m,) or batched, for instance the potentials of
            the previous training step.
        num_threads: at least 1; None means `torch.get_num_threads()`. It never changes a result.

    Returns:
        An `OTResult`, batched if any input is.

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: any other fault; names the argument, the first bad index, its value and the rule.

    Memory: beside its outputs of O(n + m), a solve allocates per thread that works on a problem of its
    own at most n * m numbers of the dtype computed in (small problems of IPOT up to 4.2 MiB more), or
    min(n, m)^2 float64 for a Newton step; see docs/memory.md. A plan is made when it is asked for.

    Sources: Cuturi, NeurIPS 2013 (Sinkhorn); Xie, Wang, Wang, Zha, UAI 2019 (IPOT); Peyré and Cuturi,
    Computational Optimal Transport, 2019, chapters 3 and 4.

    >>> import torch
    >>> from kantorch import solve
    >>> cost = torch.tensor([[0.0, 2.0], [1.0, 0.5]], requires_grad=True)
    >>> result = solve(cost)
    >>> result.value.item()
    0.25
    >>> result.plan
    tensor([[0.5000, 0.0000],
            [0.0000, 0.5000]])
    >>> torch.equal(torch.autograd.grad(result.value, cost)[0], result.plan)
    True
    >>> solve(cost.detach(), reg=0.1, reg_type="entropy").converged
    tensor(True)
    """
    chosen = _check.require_method(method, reg, beta)
    _check.require_choice("reg_type", reg_type, _check.REG_TYPES)
    _check.require_cost(cost)
    return _solve(
        chosen,
        ops.Stored(_check.computed(cost)),
        cost.dtype,
        a,
        b,
        reg,
        reg_type,
        beta,
        max_iter,
        tol,
        potentials_init,
        num_threads,
    )


def _solve(
    chosen: str,
    cost: ops.Cost,
    dtype: torch.dtype,
    a: Tensor | None,
    b: Tensor | None,
    reg: float | Tensor | None,
    reg_type: RegType,
    beta: float | Tensor | None,
    max_iter: int | None,
    tol: float | None,
    potentials_init: tuple[Tensor, Tensor] | None,
    num_threads: int | None,
) -> OTResult:
    """Solve with a method on a checked cost, given in `dtype`; check the other arguments."""
    n, m = cost.shape[-2:]
    a = _check.require_weights("a", a, n, cost, dtype)
    b = _check.require_weights("b", b, m, cost, dtype)
    f_init, g_init = _check.require_potentials(potentials_init, cost, dtype)
    threads = 0
    if num_threads is not None:
        threads = _check.require_count("num_threads", num_threads, 2**15)
    tolerance = _check.require_tol(tol, cost.dtype)
    iterations = -1 if chosen == "exact" else _DEFAULT_MAX_ITER
    if max_iter is not None:
        iterations = _check.require_count("max_iter", max_iter, _check.MAX_ITER)
    strength: Tensor | None = None
    if reg is not None:
        strength = _check.require_strength("reg", reg, cost)
    elif beta is not None:
        strength = _check.require_strength("beta", beta, cost)
    batch = _check.require_one_batch(
        cost=(cost, 2),
        a=(a, 1),
        b=(b, 1),
        reg=(strength, 0),
        potentials_init_f=(f_init, 1),
        potentials_init_g=(g_init, 1),
    )
    if batch is not None and cost.ndim == 2 and a.ndim == 1:
        a = a.expand(batch, n)

    if chosen == "line":  # no iterations to start or to limit
        x, y = (points.squeeze(-1) for points in cost.tensors)
        squared = cost.operands[-1] == "sqeuclidean"
        exact = ops.line(x, y, a, b, f_init, g_init, squared, threads)
        return LineResult.of(cost, a, b, exact, batch is not None)
    if chosen == "exact":
        exact = ops.exact(cost.matrix(), a, b, f_init, g_init, iterations, threads)
        return ExactResult.of(cost, a, b, exact, batch is not None)
    if chosen == "sinkhorn":
        rest = f_init, g_init, reg_type == "entropy", tolerance, iterations, threads
        scaled = ops.sinkhorn(*cost.operands, a, b, strength, *rest)
        return SinkhornResult.of(cost, a, b, scaled, batch is not None)
    # IPOT's exponents are t C / beta, to which a constant adds nothing but rounding errors.
    constant = cost.constant_part(a.detach(), b.detach())
    if constant is not None and values_are_at_hand(constant) and not bool(constant.any()):
        constant = None
    rounding = cost.rounding()
    if constant is not None:
        cost = cost.less(constant)
        f_init = None if f_init is None else f_init - constant[..., None]
    start = f_init, g_init, tolerance, iterations, threads
    proximal = ops.ipot(*cost.operands, a, b, strength, *start)
    result = IpotResult.of(cost.detach(), a.detach(), b.detach(), proximal, batch is not None)
    return result if constant is None else result.plus(constant, rounding)


def solve_sample(
    x: Tensor,
    y: Tensor,
    a: Tensor | None = None,
    b: Tensor | None = None,
    *,
    metric: Metric = "sqeuclidean",
    reg: float | Tensor | None = None,
    reg_type: RegType = "kl",
    method: Method = "auto",
    beta: float | Tensor | None = None,
    max_iter: int | None = None,
    tol: float | None = None,
    potentials_init: tuple[Tensor, Tensor] | None = None,
    num_threads: int | None = None,
) -> OTResult:
    """Solve optimal transport between points; see `solve` for what is not listed here.

    Args:
        x: (n, d) or (B, n, d), finite.
        y: (m, d) or (B, m, d), in the dtype of x.
        a: weights of x, (n,) or (B, n), in the dtype of x.
        b: weights of y, (m,) or (B, m), likewise.
        metric: "sqeuclidean" (without a factor 1/2), "euclidean", "cityblock" or "chebyshev". At zero
            distance the Euclidean metric has the subgradient 0.
        reg: see `solve`.
        reg_type: see `solve`.
        method: see `solve`.
        beta: see `solve`.
        max_iter: see `solve`.
        tol: see `solve`.
        potentials_init: see `solve`.
        num_threads: see `solve`.

    Returns:
        An `OTResult`, differentiable with respect to x, y, a and b.

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: any other fault.

    >>> import torch
    >>> from kantorch import solve_sample
    >>> x = torch.tensor([[0.0], [1.0]])
    >>> solve_sample(x, x + 3).value
    tensor(9.)
    """
    chosen = _check.require_method(method, reg, beta)
    _check.require_choice("reg_type", reg_type, _check.REG_TYPES)
    cost: ops.Cost = points_of(x, y, metric)
    if chosen == "exact" and x.shape[-1] == 1:
        chosen = "line"
    # The size of the batch decides nothing: the core and torch round distances differently. Only the
    # transforms, for which ops between points have no rules, take the cost matrix.
    elif chosen == "exact" or torch._C._are_functorch_transforms_active():
        cost = ops.Stored(cost_matrix(x, y, metric=metric))
    return _solve(
        chosen,
        cost,
        x.dtype,
        a,
        b,
        reg,
        reg_type,
        beta,
        max_iter,
        tol,
        potentials_init,
        num_threads,
    )
