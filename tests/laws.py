"""What must hold of every result, whatever the problem: checks against the definitions in the documentation.

`solve` is `kantorch.solve` with the arguments a method needs, and `check` judges its answer by plain torch
arithmetic in float64, independent of how the answer was found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

import kantorch

if TYPE_CHECKING:
    from torch import Tensor

Status = kantorch.Status
SETTLED = (int(Status.OPTIMAL), int(Status.CONVERGED))

# Rounding of a sum of products of numbers of order 1 in the dtype of the result, with room for their number.
ROUNDING = {torch.float64: 1e-12, torch.float32: 2e-5}
DEFAULT_TOL = {torch.float64: 1e-8, torch.float32: 1e-5}


def arguments(method: str, reg: float = 0.1) -> dict[str, Any]:
    """The keyword arguments that select a method."""
    return {"method": method, "reg": reg} if method == "sinkhorn" else {"method": method}


def solve(
    method: str, cost: Tensor, *weights: Tensor | None, reg: float = 0.1, **options: Any
) -> Any:
    """`kantorch.solve` by any method."""
    return kantorch.solve(cost, *weights, **{**arguments(method, reg), **options})


def assert_same_bits(first: Any, second: Any, fields: tuple[str, ...] = ()) -> None:
    """Two results agree to the last bit in every field."""
    for name in fields or FIELDS:
        x, y = getattr(first, name), getattr(second, name)
        assert x.dtype == y.dtype, name
        assert x.shape == y.shape, name
        # Comparing bytes would tell -0.0 from 0.0; torch.equal would not let NaN equal itself.
        same = (x == y) | (x.isnan() & y.isnan()) if x.is_floating_point() else x == y
        assert bool(same.all()), f"{name} differs: {(x.double() - y.double()).abs().max()}"


FIELDS = (
    "value",
    "value_linear",
    "plan",
    "potential_a",
    "potential_b",
    "marginal_a",
    "marginal_b",
    "lower_bound",
    "gap",
    "marginal_error",
    "n_iter",
    "converged",
    "status",
)


def field_shapes(lead: tuple[int, ...], n: int, m: int) -> dict[str, tuple[int, ...]]:
    """The shape of every field of a result."""
    tail: dict[str, tuple[int, ...]] = dict.fromkeys(FIELDS, ())
    tail.update(plan=(n, m), potential_a=(n,), potential_b=(m,), marginal_a=(n,), marginal_b=(m,))
    return {name: lead + shape for name, shape in tail.items()}


def xlogx(x: Tensor) -> Tensor:
    """X log x, 0 at 0."""
    return torch.special.xlogy(x, x)


def check(
    result: Any,
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    method: str,
    reg: Tensor | float | None = None,
    reg_type: str = "kl",
    tol: float | None = None,
) -> None:
    """Check every field of a result of `solve(cost, a, b)`; shapes may be batched or not."""
    dtype = cost.dtype if cost.dtype in ROUNDING else torch.float32
    eps = ROUNDING[dtype]
    tol = DEFAULT_TOL[dtype] if tol is None else tol
    n, m = cost.shape[-2:]
    lead = torch.broadcast_shapes(cost.shape[:-2], a.shape[:-1], b.shape[:-1])

    for name, shape in field_shapes(lead, n, m).items():
        field = getattr(result, name)
        assert tuple(field.shape) == shape, f"{name}: {tuple(field.shape)}, want {shape}"
        assert field.device == cost.device, name
        assert bool(torch.isfinite(field).all()), f"{name} is not finite"
    for name in ("value", "value_linear", "plan", "potential_a", "potential_b", "marginal_a"):
        assert getattr(result, name).dtype == dtype, name
    assert result.converged.dtype == torch.bool
    assert not result.n_iter.is_floating_point()
    assert not result.status.is_floating_point()
    assert result.potentials[0] is not None
    assert torch.equal(result.potentials[0], result.potential_a)
    assert torch.equal(result.potentials[1], result.potential_b)

    cost, a, b = (t.detach().double() for t in (cost, a, b))
    cost, a, b = cost.expand(*lead, n, m), a.expand(*lead, n), b.expand(*lead, m)
    plan, f, g = (t.detach().double() for t in (result.plan, *result.potentials))
    mass = a.sum(-1)
    b = (
        b
        * torch.where(mass > 0, mass / b.sum(-1).clamp_min(1e-300), torch.zeros_like(mass))[
            ..., None
        ]
    )
    size = cost.abs().amax((-2, -1))  # the unit in which costs are rounded
    span = cost.amax((-2, -1)) - cost.amin((-2, -1))

    assert bool((plan >= 0).all())
    assert bool((plan[a == 0] == 0).all()), "mass leaves a point that has none"
    assert bool((plan.mT[b == 0] == 0).all()), "mass reaches a point that has none"

    rows, cols = plan.sum(-1), plan.sum(-2)
    torch.testing.assert_close(
        result.marginal_a.detach().double(), rows, rtol=eps, atol=eps * float(mass.max())
    )
    torch.testing.assert_close(
        result.marginal_b.detach().double(), cols, rtol=eps, atol=eps * float(mass.max())
    )
    error = ((rows - a).abs().sum(-1) + (cols - b).abs().sum(-1)) / mass.clamp_min(1e-300)
    reported = result.marginal_error.detach().double()
    assert bool(((error - reported).abs() <= 2 * eps + 1e-3 * error).all()), (error, reported)

    settled = torch.tensor([int(s) in SETTLED for s in result.status.flatten()], device=cost.device)
    assert torch.equal(result.converged.flatten(), settled)
    within = 1e-12 if method == "exact" and dtype == torch.float64 else max(tol, eps)
    assert bool((error.flatten()[settled] <= within * (1 + 1e-3) + 2 * eps).all()), error

    linear = (plan * cost).sum((-2, -1))
    # <P, C> is rounded in units of mass x cost.
    unit = mass * size
    _close(result.value_linear, linear, eps * unit)
    _close(
        result.gap,
        result.value_linear.detach().double() - result.lower_bound.detach().double(),
        eps * unit,
    )

    # The lower bound belongs to a feasible dual point: nothing that is feasible costs less. The plan is feasible up
    # to its marginal error, which mass that is missing makes cheaper by at most its largest cost.
    slackness = eps * unit + error * mass * size
    assert bool((result.lower_bound.detach().double() <= linear + slackness).all())

    if method == "exact":
        _close(result.value, linear, eps * unit)
        reduced = cost - f[..., None] - g[..., None, :]
        assert bool((reduced.amin((-2, -1)) >= -eps * size).all()), "duals are not feasible"
        dual = (a * f).sum(-1) + (b * g).sum(-1)
        optimal = result.status == int(Status.OPTIMAL)
        assert bool(((linear - dual).abs() <= eps * unit)[optimal].all()), (
            "optimal without equal dual"
        )
        assert bool((result.gap.double().abs() <= eps * unit)[optimal].all())
    elif method == "sinkhorn":
        strength = torch.as_tensor(reg, dtype=torch.float64, device=cost.device).expand(lead)
        dual = (a * f).sum(-1) + (b * g).sum(-1) - strength * (plan.sum((-2, -1)) - mass)
        # Potentials are returned in the dtype of the cost, so their rounding is relative to their own size.
        height = f.abs().amax(-1) + g.abs().amax(-1) + size
        if reg_type == "entropy":
            dual = dual + strength * (xlogx(a).sum(-1) + xlogx(b).sum(-1))
            height = height + strength * (xlogx(a).abs().sum(-1) + xlogx(b).abs().sum(-1))
        _close(result.value, dual, eps * mass * height + 1e-300)
        # P_ij = a_i b_j exp((f_i + g_j - C_ij) / reg): the exponent is off by the rounding of f, g over reg.
        exponent = (f[..., None] + g[..., None, :] - cost) / strength[..., None, None]
        rounding = torch.finfo(dtype).eps * 4 * float((height / strength).max())
        if rounding < 0.05:
            want = a[..., None] * b[..., None, :] * torch.exp(exponent)
            torch.testing.assert_close(
                plan, want, rtol=2 * rounding + eps, atol=eps * float(mass.max()) / (n * m)
            )
    else:
        _close(result.value, linear, eps * unit)
        done = result.converged
        gap = result.gap.detach().double()
        assert bool((gap <= tol * span * mass * (1 + 1e-3) + 2 * eps * unit)[done].all()), gap


def _close(field: Tensor, want: Tensor, atol: Tensor) -> None:
    difference = (field.detach().double() - want).abs()
    assert bool((difference <= atol + 1e-300).all()), (field, want, difference, atol)
