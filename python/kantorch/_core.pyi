"""The compiled core. Private: arguments are trusted, `kantorch.ops` is its only user."""

from typing import TypedDict

from torch import Tensor

from kantorch.ops._backend import Execution
from kantorch.ops._layout import Problem
from kantorch.ops.exact import ExactOutputs
from kantorch.ops.scaling import ScalingOutputs

__version__: str
compiler: str

class _Finding(TypedDict):
    fault: str
    problem: int
    row: int
    col: int
    value: float
    other: float

def simd_level() -> str: ...
def set_simd_level(level: str) -> None: ...
def check(
    problem: Problem, strength: Tensor | None, execution: Execution
) -> _Finding | None: ...  # of the first problem that has a fault
def exact(
    problem: Problem,
    f_init: Tensor | None,
    g_init: Tensor | None,
    max_iter: int,
    outputs: ExactOutputs,
    execution: Execution,
) -> int: ...  # the worst status
def line(
    problem: Problem,
    x: Tensor,
    y: Tensor,
    squared: bool,
    outputs: ExactOutputs,
    execution: Execution,
) -> int: ...  # the worst status
def sinkhorn(
    problem: Problem,
    strength: Tensor,
    f_init: Tensor | None,
    g_init: Tensor | None,
    tol: float,
    max_iter: int,
    outputs: ScalingOutputs,
    execution: Execution,
) -> None: ...
def ipot(
    problem: Problem,
    strength: Tensor | None,
    f_init: Tensor | None,
    g_init: Tensor | None,
    tol: float,
    max_iter: int,
    outputs: ScalingOutputs,
    execution: Execution,
) -> None: ...
def gibbs(
    problem: Problem, f: Tensor, g: Tensor, eps: Tensor, plan: Tensor, execution: Execution
) -> None: ...
def implicit(
    problem: Problem,
    f: Tensor,
    g: Tensor,
    eps: Tensor,
    x: Tensor,
    y: Tensor,
    transposed: bool,
    left: Tensor,
    right: Tensor,
    execution: Execution,
) -> None: ...
def dual_bound(
    problem: Problem, f: Tensor, g: Tensor, bound: Tensor, execution: Execution
) -> None: ...
def distance_matrix(problem: Problem, out: Tensor, execution: Execution) -> None: ...
def point_gradient(
    problem: Problem, f: Tensor, g: Tensor, eps: Tensor, gradient: Tensor, execution: Execution
) -> None: ...
