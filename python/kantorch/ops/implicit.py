"""The linear system behind the derivatives of Sinkhorn's potentials."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kantorch.ops._backend import Execution, core
from kantorch.ops._define import define, values_are_at_hand
from kantorch.ops._layout import Problem, contiguous, scalars
from kantorch.ops._sums import column_totals, total
from kantorch.ops.gibbs import gibbs, reduce_batch


def _kernel(
    cost: Tensor,
    f: Tensor,
    g: Tensor,
    a: Tensor,
    b: Tensor,
    eps: Tensor,
    x: Tensor,
    y: Tensor,
    transposed: bool,
    threads: int,
) -> tuple[Tensor, Tensor]:
    problem = Problem.stored(cost, a, b, eps)
    batch, n, m = problem.shape
    left, right = x.new_empty((batch, n)), x.new_empty((batch, m))
    if batch:
        f, g, x, y = contiguous(f), contiguous(g), contiguous(x), contiguous(y)
        eps, execution = scalars(eps, batch), Execution.of(cost, threads)
        core.implicit(problem, f, g, eps, x, y, transposed, left, right, execution)
    return left, right


def _fake(
    cost: Tensor,
    f: Tensor,
    g: Tensor,
    a: Tensor,
    b: Tensor,
    eps: Tensor,
    x: Tensor,
    y: Tensor,
    transposed: bool,
    threads: int,
) -> tuple[Tensor, Tensor]:
    return f.new_empty(f.shape), g.new_empty(g.shape)


def kernel_of_mass(
    cost: Tensor,
    f: Tensor,
    g: Tensor,
    x: Tensor,
    y: Tensor,
    a: Tensor,
    b: Tensor,
    eps: Tensor,
    threads: int,
) -> Tensor:
    """x_i y_j exp((f_i + g_j - C_ij) / eps), and 0 between two points without mass.

    Their potentials know nothing of each other, so that the exponential may be anything: beyond every range, where 1e-17 in
    x or y, a rounding error, would then be all that is left of a sum.
    """
    kernel: Tensor = gibbs(cost, f, g, x, y, eps, threads)
    if values_are_at_hand(a, b) and bool((a > 0).all() or (b > 0).all()):
        return kernel
    return torch.where((a > 0)[..., :, None] | (b > 0)[..., None, :], kernel, 0)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    cost, f, g, a, b, eps, _, _, ctx.transposed, ctx.threads = inputs
    ctx.save_for_backward(cost, f, g, a, b, eps, *output)


def _backward(ctx: Any, grad_left: Tensor, grad_right: Tensor) -> tuple[Any, ...]:
    """Of solution = A^-1 rhs: the gradient of rhs is z = A^-T grad, that of A is -z solution^T."""
    cost, f, g, a, b, eps, left, right = ctx.saved_tensors
    z_f, z_g = implicit(
        cost, f, g, a, b, eps, grad_left, grad_right, not ctx.transposed, ctx.threads
    )
    # <z, A solution> less its identity part, which is constant, with E_ij = exp((f_i + g_j - C_ij) / eps):
    # transposed:  sum_ij (a_i z_f_i mu_j + b_j lambda_i z_g_j) E_ij;  else the two vectors change places.
    u_f, u_g, v_f, v_g = (z_f, right, left, z_g) if ctx.transposed else (left, z_g, z_f, right)
    dtype = cost.dtype
    au, bv, u_g, v_f = (a * u_f).to(dtype), (b * v_g).to(dtype), u_g.to(dtype), v_f.to(dtype)
    one_f, one_g = torch.ones_like(v_f), torch.ones_like(u_g)
    first = gibbs(cost, f, g, au, u_g, eps, ctx.threads)
    second = gibbs(cost, f, g, v_f, bv, eps, ctx.threads)
    slope = (first + second) / eps[:, None, None]
    rows = kernel_of_mass(cost, f, g, one_f, u_g, a, b, eps, ctx.threads)
    cols = kernel_of_mass(cost, f, g, v_f, one_g, a, b, eps, ctx.threads)
    grad_a = -(u_f * total(rows)).to(dtype)
    grad_b = -(v_g * column_totals(cols)).to(dtype)
    return (
        reduce_batch(slope, cost),
        -total(slope).to(f.dtype),
        -column_totals(slope).to(g.dtype),
        reduce_batch(grad_a, a),
        reduce_batch(grad_b, b),
        None,
        z_f,
        z_g,
        None,
        None,
    )


# Solves M^T [lambda; mu] = [x; y] (transposed) or M [lambda; mu] = [x; y] with
#   M = [[I, E diag(b)], [E^T diag(a), I]],  E_ij = exp((f_i + g_j - C_ij) / eps),
# the derivative of Sinkhorn's fixed-point equations; all right-hand sides and solutions float64, batched.
implicit = define(
    "implicit(Tensor cost, Tensor f, Tensor g, Tensor a, Tensor b, Tensor eps, Tensor x, Tensor y, "
    "bool transposed, int threads) -> (Tensor, Tensor)",
    kernel=_kernel,
    fake=_fake,
    own_dims=(2, 1, 1, 1, 1, 0, 1, 1, None, None),
    double=("x", "y"),
    setup_context=_setup_context,
    backward=_backward,
)
