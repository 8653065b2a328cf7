"""Problems built backwards from their answer: duals f, g, and a cost f + g + slack, no slack where the plan lives.

Any plan on the support is then optimal, and its value is <a, f> + <b, g>. With slack everywhere else, a support
without cycles makes the plan unique, and a spanning tree makes the duals unique up to a constant.
"""

from __future__ import annotations

import numpy as np

from problems.base import Problem, problem

GRID = 64.0  # dyadic numbers k / 64 with small k: sums and products of these problems are exact in float64


def _dyadic(
    rng: np.random.Generator, low: int, high: int, shape: int | tuple[int, ...]
) -> np.ndarray:
    return rng.integers(low, high, size=shape, endpoint=True) / GRID


def _tree_support(rng: np.random.Generator, n: int, m: int) -> list[tuple[int, int]]:
    """n + m - 1 cells that join all rows and columns without a cycle: a random staircase."""
    rows, cols = rng.permutation(n), rng.permutation(m)
    steps = rng.permutation(np.repeat([0, 1], [n - 1, m - 1]))
    i = j = 0
    cells = [(int(rows[0]), int(cols[0]))]
    for step in steps:
        i, j = (i + 1, j) if step == 0 else (i, j + 1)
        cells.append((int(rows[i]), int(cols[j])))
    return cells


def planted_tree(rng: np.random.Generator, n: int, m: int) -> Problem:
    """Arbitrary weights; unique plan, unique duals."""
    f, g = _dyadic(rng, -256, 256, n), _dyadic(rng, -256, 256, m)
    slack = _dyadic(rng, 1, 256, (n, m))
    plan = np.zeros((n, m))
    for i, j in _tree_support(rng, n, m):
        slack[i, j] = 0
        plan[i, j] = rng.integers(1, 32) / GRID
    a, b = plan.sum(1), plan.sum(0)
    return problem(
        "planted_tree",
        f[:, None] + g + slack,
        a,
        b,
        a @ f + b @ g,
        plan=plan,
        potentials=(f, g),
        integer=True,
    )


def planted_degenerate(rng: np.random.Generator, n: int, m: int) -> Problem:
    """Slack that is often 0 off the plan, few distinct weights: many optimal plans, many ties."""
    f, g = _dyadic(rng, -2, 2, n), _dyadic(rng, -2, 2, m)
    slack = rng.integers(0, 2, size=(n, m)).astype(float)
    plan = np.zeros((n, m))
    for i, j in _tree_support(rng, n, m):
        slack[i, j] = 0
        plan[i, j] = rng.integers(0, 1, endpoint=True)
    plan[0, 0] += plan.sum() == 0
    slack[plan > 0] = 0
    a, b = plan.sum(1), plan.sum(0)
    return problem("planted_degenerate", f[:, None] + g + slack, a, b, a @ f + b @ g, integer=True)


def planted_permutation(rng: np.random.Generator, n: int) -> Problem:
    """An assignment: weights 1, unique plan; the duals have slack."""
    f, g = _dyadic(rng, -256, 256, n), _dyadic(rng, -256, 256, n)
    slack = _dyadic(rng, 1, 256, (n, n))
    to = rng.permutation(n)
    slack[np.arange(n), to] = 0
    plan = np.zeros((n, n))
    plan[np.arange(n), to] = 1
    one = np.ones(n)
    return problem(
        "planted_permutation",
        f[:, None] + g + slack,
        one,
        one,
        f.sum() + g.sum(),
        plan=plan,
        integer=True,
    )


def planted_float(rng: np.random.Generator, n: int, m: int) -> Problem:
    """As `planted_tree` with real numbers instead of dyadic ones, mass 1."""
    f, g = rng.normal(size=n), rng.normal(size=m)
    slack = rng.exponential(size=(n, m)) + 0.01
    plan = np.zeros((n, m))
    for i, j in _tree_support(rng, n, m):
        slack[i, j] = 0
        plan[i, j] = rng.uniform(0.1, 1)
    plan /= plan.sum()
    a, b = plan.sum(1), plan.sum(0)
    return problem(
        "planted_float", f[:, None] + g + slack, a, b, a @ f + b @ g, plan=plan, potentials=(f, g)
    )


def planted_wide_range(rng: np.random.Generator, n: int, m: int) -> Problem:
    """Costs from 1e-8 to 1e8: a tolerance on reduced costs that is not relative picks a wrong basis."""
    cost = 10.0 ** rng.uniform(-8, 8, size=(n, m))
    plan = np.zeros((n, m))
    for i, j in _tree_support(rng, n, m):
        cost[i, j] = 0
        plan[i, j] = rng.uniform(0.1, 1)
    # The plan is unique, but another one costs only 1e-8, which is below the rounding of the duals.
    return problem("planted_wide_range", cost, plan.sum(1), plan.sum(0), 0.0)


def planted_zero_mass(rng: np.random.Generator, n: int, m: int) -> Problem:
    """A planted problem between points without mass, whose costs would be tempting or are forbidding."""
    core = planted_tree(rng, max(n // 2, 1), max(m // 2, 1))
    cn, cm = core.cost.shape
    rows = np.sort(rng.permutation(n)[:cn])
    cols = np.sort(rng.permutation(m)[:cm])
    cost = rng.choice([-1024.0, 0.0, 1024.0], size=(n, m))
    plan, a, b = np.zeros((n, m)), np.zeros(n), np.zeros(m)
    cost[np.ix_(rows, cols)] = core.cost.numpy()
    plan[np.ix_(rows, cols)] = core.plan.numpy()
    a[rows], b[cols] = core.a.numpy(), core.b.numpy()
    return problem("planted_zero_mass", cost, a, b, core.value, plan=plan, integer=True)


def planted_huge_offset(
    rng: np.random.Generator, n: int, m: int, offset: float = 2.0**30
) -> Problem:
    """A constant added to every cost shifts the value by offset x mass and changes nothing else."""
    core = planted_tree(rng, n, m)
    a, b = core.a.numpy(), core.b.numpy()
    return problem(
        "planted_huge_offset",
        core.cost.numpy() + offset,
        a,
        b,
        core.value + offset * core.mass,
        plan=core.plan.numpy(),
        potentials=(core.potential_a.numpy() + offset, core.potential_b.numpy()),
    )


def planted_negative(rng: np.random.Generator, n: int, m: int) -> Problem:
    """Every cost below zero."""
    core = planted_huge_offset(rng, n, m, offset=-32.0)
    return problem(
        "planted_negative",
        core.cost.numpy(),
        core.a.numpy(),
        core.b.numpy(),
        core.value,
        plan=core.plan.numpy(),
        potentials=(core.potential_a.numpy(), core.potential_b.numpy()),
        integer=True,
    )
