"""What is wrong with the values of a problem, and how it is told."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import torch
from torch import Tensor

from kantorch.errors import ConvergenceWarning, Status
from kantorch.ops._backend import core
from kantorch.ops._layout import Problem


def check_values(
    problem: Problem, threads: int, *, strength: Tensor | None = None, name: str = "reg"
) -> None:
    """Raise a ValueError that names the first bad value of a problem.

    Args:
        problem: whose cost, a and b are read.
        threads: to read with.
        strength: reg or beta, (B,) float64, contiguous.
        name: what the user calls `strength`.
    """
    cost, a, b = problem.arguments
    # A shared cost is read once, and of points there is none.
    batched = problem.cost is not None and problem.cost.ndim == 3
    distinct = (cost[0], 0 if problem.cost is None else problem.batch if batched else 1, *cost[2:])
    at = 0 if strength is None else strength.data_ptr()
    found = core.check(problem.dtype, distinct, a, b, at, problem.batch, threads)
    raise_fault(
        found,
        cost=batched,
        a=problem.a.ndim == 2,
        b=problem.b.ndim == 2,
        strength=problem.batch > 1,
        name=name,
    )


def raise_fault(
    found: tuple[int, int, int, int, float, float],
    *,
    cost: bool,
    a: bool,
    b: bool,
    strength: bool = False,
    name: str = "reg",
) -> None:
    """Raise a ValueError for what the core's check has found, if anything.

    Args:
        found: fault, problem, row, column, value, other value.
        cost: whether it is batched; likewise a, b, strength.
        a: see `cost`.
        b: see `cost`.
        strength: see `cost`.
        name: what the user calls the strength.
    """
    fault, k, i, j, value, other = found
    if fault == 0:
        return
    if fault == 1:
        msg = f"cost must be finite: {_index('cost', cost, k, i, j)} = {value}"
    elif fault in (2, 4):
        msg = f"a must be {'finite' if fault == 2 else 'non-negative'}: {_index('a', a, k, i)} = {value}"
    elif fault in (3, 5):
        msg = f"b must be {'finite' if fault == 3 else 'non-negative'}: {_index('b', b, k, i)} = {value}"
    elif fault == 7:
        msg = f"{name} must be finite and positive: {_index(name, strength, k)} = {value}"
    else:
        rule = (
            "a and b must have the same total mass, up to a relative difference of 1e-5"
            if fault == 6
            else "a and b must have a finite total mass"
        )
        sums = (_index("sum a", a or b, k), _index("sum b", a or b, k))
        msg = f"{rule}: {sums[0]} = {value}, {sums[1]} = {other}"
    raise ValueError(msg)


def check_potentials(f_init: Tensor | None, g_init: Tensor | None) -> None:
    """Raise a ValueError that names the first potential that is not finite."""
    for name, potential in (("f", f_init), ("g", g_init)):
        if potential is None or bool(torch.isfinite(potential).all()):
            continue
        where = torch.nonzero(~torch.isfinite(potential))[0].tolist()
        value = potential[tuple(where)].item()
        msg = f"potentials_init must be finite: {name}{where} = {value}"
        raise ValueError(msg)


def warn_unless_converged(
    method: str,
    status: Tensor,
    marginal_error: Tensor,
    *,
    tol: float = 0.0,
    gap: Tensor | None = None,
) -> None:
    """One ConvergenceWarning for a batch in which a problem neither converged nor was told not to.

    A method that compares its `gap` with `tol`, too, gives both, so that the warning can tell which missed.
    """
    if status.numel() and int(status.max()) > Status.FIXED_ITERATIONS:
        failed = status > Status.FIXED_ITERATIONS
        error = marginal_error[failed]
        count = error.numel()
        only_gap = error <= tol
        missed = []
        if gap is None or not bool(only_gap.all()):
            missed.append(f"largest marginal error {float(error.max()):.3g}")
        if gap is not None and bool(only_gap.any()):
            missed.append(
                f"in {int(only_gap.sum())} of them only the gap, up to "
                f"{float(gap[failed][only_gap].max()):.3g}, is above tol = {tol:g} times the spread of "
                "the costs"
            )
        warnings.warn(
            f"{method}: {count} of {status.numel()} problems did not converge; {', '.join(missed)}. "
            "See OTResult.status, and OTResult.check() for advice.",
            ConvergenceWarning,
            stacklevel=_callers_level(),
        )


def _callers_level() -> int:
    """The stack level of the first frame outside kantorch and torch, for a warning to point at."""
    inside = (str(Path(__file__).parents[1]), str(Path(torch.__file__).parent))
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_back and frame.f_code.co_filename.startswith(inside):
        level, frame = level + 1, frame.f_back
    return level - 1


def _index(name: str, batched: bool, problem: int, *rest: int) -> str:
    indices = [problem, *rest] if batched else list(rest)
    return f"{name}[{', '.join(map(str, indices))}]" if indices else name
