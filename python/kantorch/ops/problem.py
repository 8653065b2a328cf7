"""A problem as the kernels take it: addresses, sizes, strides; and what is wrong with its values."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kantorch import _core
from kantorch.errors import ConvergenceWarning

NOT_GIVEN = (0, 0)
NO_POINTS = (0, 0, 0, 0, 0, 0)
METRICS = ("sqeuclidean", "euclidean", "cityblock", "chebyshev")  # as the core numbers them


def batch_of(cost: Tensor, *vectors: Tensor | None, scalars: Tensor | None = None) -> int:
    """The batch size: that of the first input with a batch dimension, else 1."""
    if cost.ndim == 3:
        return cost.shape[0]
    for vector in vectors:
        if vector is not None and vector.ndim == 2:
            return vector.shape[0]
    return scalars.shape[0] if scalars is not None and scalars.ndim == 1 else 1


def points_batch_of(
    x: Tensor, y: Tensor, *vectors: Tensor | None, scalars: Tensor | None = None
) -> int:
    """The batch size of a problem between points (n, d) or (B, n, d)."""
    return batch_of(x if x.ndim == 3 else y, *vectors, scalars=scalars)


def dtype_of(tensor: Tensor) -> Literal["float32", "float64"]:
    """The name by which the core knows a dtype."""
    return "float64" if tensor.dtype == torch.float64 else "float32"


def rows_contiguous(cost: Tensor) -> Tensor:
    """The cost with contiguous rows, copied only if they are not."""
    return cost if cost.stride(-1) == 1 or cost.shape[-1] == 1 else cost.contiguous()


def cost_argument(cost: Tensor, batch: int) -> tuple[int, int, int, int, int, int]:
    """Address, B, n, m and strides of a cost with contiguous rows."""
    n, m = cost.shape[-2:]
    batch_stride = cost.stride(0) if cost.ndim == 3 else 0
    return cost.data_ptr(), batch, n, m, batch_stride, cost.stride(-2)


def vector_argument(vector: Tensor) -> tuple[int, int]:
    """Address and batch stride of contiguous vectors."""
    return vector.data_ptr(), vector.stride(0) if vector.ndim == 2 else 0


def contiguous(vector: Tensor) -> Tensor:
    """The vectors with contiguous elements, copied only if they are not."""
    return vector if vector.stride(-1) == 1 or vector.shape[-1] == 1 else vector.contiguous()


def panels(points: Tensor) -> Tensor:
    """Points (.., m, d) side by side, coordinate by coordinate: (.., ceil(m / 16), d, 16).

    The last panel is filled up with zeros. 16 is `panel` in core/view.hpp.
    """
    *lead, m, d = points.shape
    filled = torch.nn.functional.pad(points, (0, 0, 0, -m % 16))
    return filled.reshape(*lead, (m + 15) // 16, 16, d).mT.contiguous()


def scalars(values: Tensor, batch: int) -> Tensor:
    """One float64 a problem, contiguous."""
    return values.to(torch.float64).expand(batch).contiguous()


def thread_count(threads: int) -> int:
    """The number of threads to use; 0 stands for torch's own number."""
    return threads or torch.get_num_threads()


def workspace(size: int) -> Tensor:
    """Scratch memory, from torch's allocator."""
    return torch.empty(size, dtype=torch.uint8)


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """The tensors of a problem, kept alive beside the arguments made from them.

    There is either a cost, or there are points x (n, d) and y (m, d) in panels.
    """

    a: Tensor
    b: Tensor
    batch: int
    n: int
    m: int
    cost: Tensor | None = None
    clouds: tuple[Tensor, Tensor] | None = None
    metric: str = METRICS[0]

    @classmethod
    def of(cls, cost: Tensor, a: Tensor, b: Tensor, scalars: Tensor | None = None) -> Problem:
        """Lay a problem out for the core."""
        batch = batch_of(cost, a, b, scalars=scalars)
        n, m = cost.shape[-2:]
        return cls(contiguous(a), contiguous(b), batch, n, m, cost=rows_contiguous(cost))

    @classmethod
    def of_points(
        cls, x: Tensor, y: Tensor, a: Tensor, b: Tensor, metric: str, scalars: Tensor | None = None
    ) -> Problem:
        """The same of a problem between points."""
        batch = points_batch_of(x, y, a, b, scalars=scalars)
        clouds = x.contiguous(), panels(y)
        n, m = x.shape[-2], y.shape[-2]
        return cls(contiguous(a), contiguous(b), batch, n, m, clouds=clouds, metric=metric)

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, n, m."""
        return self.batch, self.n, self.m

    @property
    def dtype(self) -> Literal["float32", "float64"]:
        """The name by which the core knows the dtype computed in."""
        return dtype_of(self.a)

    @property
    def cost_argument(self) -> tuple[int, int, int, int, int, int]:
        """The cost as the core takes it; of points only the sizes."""
        if self.cost is None:
            return 0, self.batch, self.n, self.m, 0, self.m
        return cost_argument(self.cost, self.batch)

    @property
    def points_argument(self) -> tuple[int, int, int, int, int, int]:
        """The points as the core takes them."""
        if self.clouds is None:
            return NO_POINTS
        (x, y), metric = self.clouds, METRICS.index(self.metric)
        x_stride = x.stride(0) if x.ndim == 3 else 0
        y_stride = y.stride(0) if y.ndim == 4 else 0
        return x.data_ptr(), y.data_ptr(), x.shape[-1], x_stride, y_stride, metric

    @property
    def arguments(
        self,
    ) -> tuple[tuple[int, int, int, int, int, int], tuple[int, int], tuple[int, int]]:
        """Cost, a and b as the core takes them."""
        return self.cost_argument, vector_argument(self.a), vector_argument(self.b)


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
    found = _core.check(problem.dtype, distinct, a, b, at, problem.batch, threads)
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


def potential_arguments(
    f_init: Tensor | None, g_init: Tensor | None
) -> tuple[tuple[Tensor, ...], tuple[int, int], tuple[int, int]]:
    """A warm start as the core takes it, after the tensors that must stay alive."""
    if f_init is None or g_init is None:
        return (), NOT_GIVEN, NOT_GIVEN
    check_potentials(f_init, g_init)
    f, g = f_init.double().contiguous(), g_init.double().contiguous()
    return (f, g), vector_argument(f), vector_argument(g)


def warn_unless_converged(
    method: str, status: Tensor, marginal_error: Tensor, *, tol: float = 0.0
) -> None:
    """One ConvergenceWarning for a batch in which a problem neither converged nor was told not to.

    A method that compares its gap with `tol`, too, gives it, so that the warning can tell which missed.
    """
    if status.numel() and int(status.max()) > 2:
        error = marginal_error[status > 2]
        count = error.numel()
        only_gap = int((error <= tol).sum()) if tol > 0 else 0
        missed = [f"largest marginal error {float(error.max()):.3g}"] if only_gap < count else []
        if only_gap:
            missed.append(f"in {only_gap} of them only the gap is above tol = {tol:g}")
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
