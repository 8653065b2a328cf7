"""The compiled core. Private: arguments are trusted, `kantorch.ops` is its only user."""

from typing import Literal, TypeAlias

__version__: str
compiler: str
has_cuda: bool

# Tensors travel as addresses and strides in elements; 0 means "not given".
_Dtype: TypeAlias = Literal["float32", "float64"]
_Cost: TypeAlias = tuple[int, int, int, int, int, int]  # address, B, n, m, batch stride, row stride
# x, y coordinate by coordinate, coordinates, batch strides of x and y, metric
_Points: TypeAlias = tuple[int, int, int, int, int, int]
_Vector: TypeAlias = tuple[int, int]  # address, batch stride

def simd_level() -> str: ...
def set_simd_level(level: str) -> None: ...
def check(
    dtype: _Dtype, cost: _Cost, a: _Vector, b: _Vector, strength: int, batch: int, threads: int
) -> tuple[int, int, int, int, float, float]: ...
def exact_workspace(dtype: _Dtype, cost: _Cost, threads: int) -> int: ...
def exact(
    dtype: _Dtype,
    cost: _Cost,
    a: _Vector,
    b: _Vector,
    f_init: _Vector,
    g_init: _Vector,
    max_iter: int,
    outputs: tuple[int, ...],
    workspace: int,
    threads: int,
) -> int: ...  # the worst status
def line(
    dtype: _Dtype,
    shape: tuple[int, int, int],
    x: _Vector,
    y: _Vector,
    a: _Vector,
    b: _Vector,
    squared: bool,
    outputs: tuple[int, ...],
    threads: int,
) -> int: ...  # the worst status
def sinkhorn_workspace(
    dtype: _Dtype, cost: _Cost, points: _Points, tol: float, threads: int
) -> int: ...
def sinkhorn(
    dtype: _Dtype,
    cost: _Cost,
    points: _Points,
    a: _Vector,
    b: _Vector,
    eps: int,
    f_init: _Vector,
    g_init: _Vector,
    tol: float,
    max_iter: int,
    outputs: tuple[int, ...],
    workspace: int,
    threads: int,
) -> None: ...
def ipot_workspace(
    dtype: _Dtype, cost: _Cost, points: _Points, tol: float, threads: int
) -> int: ...
def ipot(
    dtype: _Dtype,
    cost: _Cost,
    points: _Points,
    a: _Vector,
    b: _Vector,
    beta: int,
    f_init: _Vector,
    g_init: _Vector,
    tol: float,
    max_iter: int,
    outputs: tuple[int, ...],
    workspace: int,
    threads: int,
) -> None: ...
def gibbs(
    dtype: _Dtype,
    cost: _Cost,
    f: _Vector,
    g: _Vector,
    x: _Vector,
    y: _Vector,
    eps: int,
    plan: int,
    threads: int,
) -> None: ...
def implicit_workspace(dtype: _Dtype, cost: _Cost, threads: int) -> int: ...
def implicit(
    dtype: _Dtype,
    cost: _Cost,
    f: _Vector,
    g: _Vector,
    a: _Vector,
    b: _Vector,
    eps: int,
    x: _Vector,
    y: _Vector,
    transposed: bool,
    out_lambda: int,
    out_mu: int,
    workspace: int,
    threads: int,
) -> None: ...
def dual_bound(
    dtype: _Dtype,
    cost: _Cost,
    points: _Points,
    f: _Vector,
    g: _Vector,
    a: _Vector,
    b: _Vector,
    bound: int,
    threads: int,
) -> None: ...
def point_gradient(
    dtype: _Dtype,
    cost: _Cost,
    points: _Points,
    f: _Vector,
    g: _Vector,
    a: _Vector,
    b: _Vector,
    eps: int,
    out: int,
    threads: int,
) -> None: ...
