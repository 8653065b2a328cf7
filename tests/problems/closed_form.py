"""Problems whose answer is a theorem."""

from __future__ import annotations

import numpy as np

from problems.base import Problem, problem


def diracs(x: float = 0.25, y: float = 2.0) -> Problem:
    """One point to one point."""
    cost = np.array([[(x - y) ** 2]])
    return problem(
        "diracs", cost, np.ones(1), np.ones(1), cost[0, 0], plan=np.ones((1, 1)), integer=True
    )


def negative_dirac() -> Problem:
    """A single cell of negative cost: the answer is that cost."""
    return problem(
        "negative_dirac",
        np.array([[-5.0]]),
        np.ones(1),
        np.ones(1),
        -5.0,
        plan=np.ones((1, 1)),
        integer=True,
    )


def one_row(rng: np.random.Generator, m: int) -> Problem:
    """1 x m: the plan is forced."""
    b = rng.integers(0, 9, size=m).astype(float)
    b[0] += b.sum() == 0
    cost = rng.integers(-64, 64, size=(1, m)) / 8
    return problem("one_row", cost, b.sum()[None], b, cost[0] @ b, plan=b[None], integer=True)


def one_column(rng: np.random.Generator, n: int) -> Problem:
    """n x 1: the plan is forced."""
    flat = one_row(rng, n)
    return problem(
        "one_column",
        flat.cost.numpy().T,
        flat.b.numpy(),
        flat.a.numpy(),
        flat.value,
        plan=flat.plan.numpy().T,
        integer=True,
    )


def constant(rng: np.random.Generator, n: int, m: int, c: float = 3.0) -> Problem:
    """One cost everywhere: every plan is optimal."""
    a = rng.integers(1, 9, size=n) * float(m)
    b = np.full(m, a.sum() / m)
    return problem("constant", np.full((n, m), c), a, b, c * a.sum(), integer=True)


def no_mass(rng: np.random.Generator, n: int, m: int) -> Problem:
    """No mass at all: the zero plan."""
    return problem(
        "no_mass", rng.normal(size=(n, m)), np.zeros(n), np.zeros(m), 0.0, plan=np.zeros((n, m))
    )


def line(rng: np.random.Generator, n: int, m: int, power: float = 2.0) -> Problem:
    """Points on a line with cost |x - y|^power, power >= 1: mass moves in order."""
    x, y = rng.normal(size=n), rng.normal(size=m)
    a, b = rng.uniform(0.1, 1, size=n), rng.uniform(0.1, 1, size=m)
    a, b = a / a.sum(), b / b.sum()
    cost = np.abs(x[:, None] - y) ** power
    plan = np.zeros((n, m))
    rows, cols = np.argsort(x), np.argsort(y)
    supply, demand = a[rows].copy(), b[cols].copy()
    i = j = 0
    while i < n and j < m:
        moved = min(supply[i], demand[j])
        plan[rows[i], cols[j]] += moved
        supply[i] -= moved
        demand[j] -= moved
        if (supply[i] <= demand[j] and i < n - 1) or j == m - 1:
            i += 1
        else:
            j += 1
    # Only a strictly convex cost makes the sorted plan the only one.
    return problem(
        f"line_power{power:g}",
        cost,
        a,
        b,
        float((plan * cost).sum()),
        plan=plan if power > 1 else None,
    )


def _sqeuclidean(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return ((x[:, None] - y[None]) ** 2).sum(-1)


def translation(rng: np.random.Generator, n: int, d: int = 2) -> Problem:
    """A cloud and its shifted, shuffled copy: by Jensen's inequality the shift is the only optimal plan."""
    x, shift, to = rng.normal(size=(n, d)), rng.normal(size=d), rng.permutation(n)
    y = np.empty_like(x)
    y[to] = x + shift
    a = rng.uniform(0.5, 1.5, size=n)
    a /= a.sum()
    b, plan = np.empty(n), np.zeros((n, n))
    b[to] = a
    plan[np.arange(n), to] = a
    return problem("translation", _sqeuclidean(x, y), a, b, float(shift @ shift), plan=plan)


def gaussian_map(rng: np.random.Generator, n: int, d: int = 3) -> Problem:
    """Gaussian samples and their image under a positive definite matrix, the gradient of a convex function."""
    root = rng.normal(size=(d, d))
    x = rng.normal(size=(n, d))
    y = x @ (root @ root.T + np.eye(d))
    cost = _sqeuclidean(x, y)
    a = np.full(n, 1 / n)
    return problem("gaussian_map", cost, a, a, float(np.trace(cost)) / n, plan=np.diag(a))


def _lattice(side: int) -> np.ndarray:
    return (
        np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1)
        .reshape(-1, 2)
        .astype(float)
    )


def grid_ties(side: int = 4, shift: tuple[int, int] = (1, 2)) -> Problem:
    """Two shifted grids under the l1 distance: full of ties; the linear potential sign(shift).x proves the value."""
    x = _lattice(side)
    cost = np.abs(x[:, None] - (x + shift)[None]).sum(-1)
    one = np.ones(len(x))
    return problem("grid_ties", cost, one, one, len(x) * float(np.abs(shift).sum()), integer=True)


def image_shift(
    rng: np.random.Generator, side: int = 6, shift: tuple[int, int] = (2, 1)
) -> Problem:
    """A grey image and its shifted copy on one grid, black outside: many points without mass."""
    inner = rng.integers(0, 16, size=(side - shift[0], side - shift[1])).astype(float)
    inner[0, 0] = 1
    first, second = np.zeros((side, side)), np.zeros((side, side))
    first[: inner.shape[0], : inner.shape[1]] = inner
    second[shift[0] :, shift[1] :] = inner
    x = _lattice(side)
    plan = np.zeros((side * side, side * side))
    for i, point in enumerate(x):
        if first.ravel()[i] > 0:
            row, col = (point + shift).astype(int)
            plan[i, row * side + col] = first.ravel()[i]
    value = inner.sum() * float(np.dot(shift, shift))
    return problem(
        "image_shift",
        _sqeuclidean(x, x),
        first.ravel(),
        second.ravel(),
        value,
        plan=plan,
        integer=True,
    )
