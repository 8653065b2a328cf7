"""What is wrong with the values of a problem, and how it is told."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import torch
from torch import Tensor

from kantorch.errors import ConvergenceWarning, Status
from kantorch.ops._backend import Execution, core, on_cuda
from kantorch.ops._layout import Problem


def check_values(
    problem: Problem, execution: Execution, *, strength: Tensor | None = None, name: str = "reg"
) -> None:
    """Raise a ValueError that names the first bad value of a problem.

    Args:
        problem: whose cost, a and b are read.
        execution: to read with.
        strength: reg or beta, (B,) float64, contiguous.
        name: what the user calls `strength`.
    """
    if on_cuda(execution.device):  # whose solvers look themselves, and answer BAD_INPUT
        return
    found = core.check(problem, strength, execution)
    if found is None:
        return
    fault, k, i, j = found["fault"], found["problem"], found["row"], found["col"]
    value, other = found["value"], found["other"]
    of_a, of_b = problem.a.ndim == 2, problem.b.ndim == 2
    a, b = _index("a", of_a, k, i), _index("b", of_b, k, i)
    cost = _index("cost", problem.cost is not None and problem.cost.ndim == 3, k, i, j)
    reg = _index(name, problem.batch > 1, k)
    sum_a, sum_b = (_index(f"sum {side}", of_a or of_b, k) for side in "ab")
    sums = f"{sum_a} = {value}, {sum_b} = {other}"
    messages = {
        "cost_not_finite": f"cost must be finite: {cost} = {value}",
        "a_not_finite": f"a must be finite: {a} = {value}",
        "b_not_finite": f"b must be finite: {b} = {value}",
        "a_negative": f"a must be non-negative: {a} = {value}",
        "b_negative": f"b must be non-negative: {b} = {value}",
        "strength_not_positive": f"{name} must be finite and positive: {reg} = {value}",
        "mass_overflow": f"a and b must have a finite total mass: {sums}",
        "mass_differs": "a and b must have the same total mass, up to a relative difference of 1e-5: "
        + sums,
    }
    raise ValueError(messages[fault])


def check_potentials(f_init: Tensor | None, g_init: Tensor | None) -> None:
    """Raise a ValueError that names the first potential that is not finite."""
    for name, potential in (("f", f_init), ("g", g_init)):
        if potential is None or on_cuda(potential.device) or bool(torch.isfinite(potential).all()):
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
    beyond: Tensor | None = None,
) -> None:
    """One ConvergenceWarning for a batch in which a problem neither converged nor was told not to.

    A method that compares its `gap` with `tol`, too, gives both, so that the warning can tell which missed.
    Where the value is `beyond` the range of the dtype, nothing else counts.
    """
    if (
        not on_cuda(status.device)
        and status.numel()
        and int(status.max()) > Status.FIXED_ITERATIONS
    ):
        failed = status > Status.FIXED_ITERATIONS
        count = int(failed.sum())
        missed = []
        if beyond is not None and bool(beyond.any()):
            missed.append(f"{int(beyond.sum())} values are beyond the range of the dtype")
            failed = failed & ~beyond
        error = marginal_error[failed]
        only_gap = error <= tol
        if error.numel() and (gap is None or not bool(only_gap.all())):
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
