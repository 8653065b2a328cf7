"""Independent answers: an exact integer solver, HiGHS, POT, and plain NumPy iterations of Sinkhorn and IPOT."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


def highs(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The optimal value by linear programming. The cost is scaled to 1, since the tolerances of HiGHS are absolute."""
    from scipy import sparse
    from scipy.optimize import linprog

    n, m = cost.shape
    scale = float(np.abs(cost).max()) or 1.0
    b = b * (a.sum() / b.sum())
    rows = sparse.kron(sparse.eye(n), np.ones((1, m)))
    cols = sparse.kron(np.ones((1, n)), sparse.eye(m))
    # The last equation follows from the others; rounding would make it contradict them.
    system = sparse.vstack([rows, cols]).tocsr()[:-1]
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    answer = linprog(
        (cost / scale).ravel(),
        A_eq=system,
        b_eq=np.concatenate([a, b])[:-1],
        method="highs-ds",
        options=tight,
    )
    if not answer.success:
        raise RuntimeError(answer.message)
    return float(answer.fun) * scale


def pot(cost: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The optimal value by POT's network simplex."""
    import ot

    return float(
        ot.emd2(
            np.ascontiguousarray(a),
            np.ascontiguousarray(b),
            np.ascontiguousarray(cost),
            numItermax=10**7,
        )
    )


def _integers(values: list[Fraction]) -> tuple[list[int], int]:
    denominator = 1
    for v in values:
        denominator = max(denominator, v.denominator)  # all denominators are powers of two
    return [int(v * denominator) for v in values], denominator


@dataclass(frozen=True)
class RationalOptimum:
    """The answer without any rounding."""

    value: Fraction
    f: list[Fraction]
    g: list[Fraction]
    plan: list[list[Fraction]]

    def scale(self, cost: np.ndarray | list[list[Fraction]]) -> Fraction:
        """The answer's own unit for a suboptimality: its mass times the costs that optimal plans pay or, without a
        change of the value, could pay."""
        cells = [(i, j) for i, row in enumerate(self.plan) for j in range(len(row))]
        c = {(i, j): _fraction(cost[i][j]) for i, j in cells}
        paid = [abs(c[i, j]) for i, j in cells if self.plan[i][j]]
        free = [c[i, j] for i, j in cells if c[i, j] == self.f[i] + self.g[j]]
        spread = max(free) - min(free) if free else Fraction(0)
        return sum(map(sum, self.plan), Fraction(0)) * max([*paid, spread])


def _fraction(value: float | Fraction) -> Fraction:
    return value if isinstance(value, Fraction) else Fraction(float(value))


def rational(
    cost: np.ndarray | list[list[Fraction]], a: np.ndarray, b: np.ndarray
) -> RationalOptimum:
    """The optimum in integer arithmetic: floats are dyadic, so scaled by a power of two they are integers.

    Successive shortest paths with potentials. b is rescaled to the mass of a as the contract says, which
    rounds nothing either: supplies are multiplied by sum b and demands by sum a.
    """
    n, m = len(cost), len(cost[0])
    flat, unit = _integers([_fraction(c) for row in cost for c in row])
    c = [flat[i * m : (i + 1) * m] for i in range(n)]
    sa, unit_a = _integers([Fraction(float(v)) for v in a])
    sb, _ = _integers([Fraction(float(v)) for v in b])
    total_a, total_b = sum(sa), sum(sb)
    supply, demand = [v * total_b for v in sa], [v * total_a for v in sb]
    flow = [[0] * m for _ in range(n)]
    # Reduced costs c - f - g start non-negative: g = 0, f = row minima.
    f, g = [min(row) for row in c], [0] * m

    for source in range(n):
        while supply[source] > 0:
            distance: list[int | None] = [None] * (n + m)
            parent = [-1] * (n + m)
            done = [False] * (n + m)
            distance[source] = 0
            heap = [(0, source)]
            end = -1
            while heap:
                d, v = heapq.heappop(heap)
                if done[v]:
                    continue
                done[v] = True
                if v >= n and demand[v - n] > 0:
                    end = v
                    break
                if v < n:
                    edges = [(n + j, c[v][j] - f[v] - g[j]) for j in range(m)]
                else:
                    j = v - n
                    edges = [(i, f[i] + g[j] - c[i][j]) for i in range(n) if flow[i][j] > 0]
                for w, reduced in edges:
                    candidate = d + reduced
                    if not done[w] and (distance[w] is None or candidate < distance[w]):
                        distance[w] = candidate
                        parent[w] = v
                        heapq.heappush(heap, (candidate, w))
            reach = distance[end]
            for v in range(n + m):
                if distance[v] is not None and distance[v] < reach:
                    if v < n:
                        f[v] += reach - distance[v]
                    else:
                        g[v - n] -= reach - distance[v]
            amount, v = min(supply[source], demand[end - n]), end
            while v != source:
                if v < n:
                    amount = min(amount, flow[v][parent[v] - n])
                v = parent[v]
            v = end
            while v != source:
                u = parent[v]
                if v >= n:
                    flow[u][v - n] += amount
                else:
                    flow[v][u - n] -= amount
                v = u
            supply[source] -= amount
            demand[end - n] -= amount

    if any(
        c[i][j] < f[i] + g[j] or (flow[i][j] > 0 and c[i][j] != f[i] + g[j])
        for i in range(n)
        for j in range(m)
    ):
        msg = "the integer solver broke its own optimality conditions"
        raise AssertionError(msg)
    total = sum(flow[i][j] * c[i][j] for i in range(n) for j in range(m))
    value = Fraction(total, max(total_b, 1) * unit * unit_a)
    moved = max(total_b, 1) * unit_a
    return RationalOptimum(
        value,
        [Fraction(v, unit) for v in f],
        [Fraction(v, unit) for v in g],
        [[Fraction(v, moved) for v in row] for row in flow],
    )


def rational_bound(cost: np.ndarray, a: np.ndarray, b: np.ndarray, g: np.ndarray) -> Fraction:
    """The exact value of the dual point (min_j C - g, g): a lower bound on the optimum whatever g is."""
    n, m = cost.shape
    c = [[Fraction(float(v)) for v in row] for row in cost]
    g = [Fraction(float(v)) for v in g]
    wa, wb = [Fraction(float(v)) for v in a], [Fraction(float(v)) for v in b]
    scale = sum(wa) / sum(wb) if sum(wb) else Fraction(0)
    f = [min(c[i][j] - g[j] for j in range(m)) for i in range(n)]
    return sum(w * v for w, v in zip(wa, f, strict=True)) + scale * sum(
        w * v for w, v in zip(wb, g, strict=True)
    )


def _log(weights: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(weights)


def _logsumexp(values: np.ndarray, axis: int) -> np.ndarray:
    top = values.max(axis=axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.exp(values - top).sum(axis=axis))


@dataclass(frozen=True)
class Entropic:
    """Potentials and plan after some iterations."""

    f: np.ndarray
    g: np.ndarray
    plan: np.ndarray


def sinkhorn(
    cost: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    reg: float,
    iterations: int,
    g: np.ndarray | None = None,
) -> Entropic:
    """Plain Sinkhorn in the log domain: rows first, then columns, from g = 0."""
    log_a, log_b = _log(a), _log(b)
    g = np.zeros(cost.shape[1]) if g is None else g
    for _ in range(iterations):
        f = -reg * _logsumexp((g - cost) / reg + log_b, 1)
        g = -reg * _logsumexp((f[:, None] - cost) / reg + log_a[:, None], 0)
    plan = a[:, None] * b * np.exp((f[:, None] + g - cost) / reg)
    return Entropic(f, g, plan)


def sinkhorn_value(
    cost: np.ndarray, a: np.ndarray, b: np.ndarray, reg: float, s: Entropic
) -> float:
    """<a,f> + <b,g> - reg (sum P - mass), the objective of reg_type="kl"."""
    del cost
    return float(a @ s.f + b @ s.g - reg * (s.plan.sum() - a.sum()))


def weight_entropy(a: np.ndarray) -> float:
    """Sum a log a, 0 at zero mass."""
    a = a[a > 0]
    return float((a * np.log(a)).sum())


def ipot(
    cost: np.ndarray, a: np.ndarray, b: np.ndarray, beta: float, iterations: int
) -> np.ndarray:
    """The multiplicative IPOT of its paper: one inner step, column scaling carried over, v = 1/m, plan of ones.

    Row minima are subtracted, which leaves every iterate as it is and keeps the kernel from underflowing. Points
    without mass are left out: they move nothing, and would divide 0 by 0 here.
    """
    if (a == 0).any() or (b == 0).any():
        alive = np.ix_(a > 0, b > 0)
        whole = np.zeros_like(cost)
        whole[alive] = ipot(cost[alive], a[a > 0], b[b > 0], beta, iterations)
        return whole
    kernel = np.exp(-(cost - cost.min(1, keepdims=True)) / beta)
    plan, v = np.ones_like(cost), np.full(cost.shape[1], 1 / cost.shape[1])
    for _ in range(iterations):
        q = kernel * plan
        u = a / (q @ v)
        v = b / (q.T @ u)
        plan = u[:, None] * q * v
    return plan


def ipot_potentials(
    cost: np.ndarray, a: np.ndarray, b: np.ndarray, beta: float, iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """(beta/t) log U, (beta/t) log V, the products of all scalings, in the log domain; positive weights."""
    log_v = previous = np.zeros(cost.shape[1])
    for t in range(1, iterations + 1):
        start = 2 * log_v - previous
        log_u = np.log(a) - _logsumexp(-t * cost / beta + start, 1)
        previous, log_v = log_v, np.log(b) - _logsumexp(-t * cost / beta + log_u[:, None], 0)
    return beta / iterations * log_u, beta / iterations * log_v
