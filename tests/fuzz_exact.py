"""The exact solver on many random problems, outside the test suite.

python tests/fuzz_exact.py --oracle 10000 --certificate 100000 --ranges 100000

`--oracle` problems are compared with HiGHS, and a mismatch is settled in integer arithmetic. `--certificate`
problems, most of them planted and up to 64 x 64 (a few 400 x 400), are proved optimal by their own duals: feasible plan, feasible
duals, equal values, all evaluated in extended precision. `--ranges` problems, up to 6 x 6, have costs, weights and points
of any size; what is called OPTIMAL is compared with the optimum in integer arithmetic, at the scale of that optimum. Prints
counts; the exit status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch

import kantorch
import oracle
import problems
import test_answer_scale

# Suboptimality and marginals relative to the span of the cost and the mass; float64.
LIMIT = 1e-12


def random_problem(rng: np.random.Generator, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sizes, costs and weights of very different kinds."""
    n, m = (int(k) for k in rng.integers(1, top, size=2, endpoint=True))
    cost = [
        lambda: rng.normal(size=(n, m)),
        lambda: rng.integers(0, 3, size=(n, m)).astype(float),
        lambda: rng.integers(-50, 50, size=(n, m)).astype(float),
        lambda: 10.0 ** rng.uniform(-8, 8, size=(n, m)),
        lambda: np.abs(rng.integers(0, 6, size=(n, 1)) - rng.integers(0, 6, size=m)).astype(float),
        lambda: rng.uniform(size=(n, m)) * 1e-15,
        lambda: rng.uniform(size=(n, m)) + 1e6,
        lambda: (rng.normal(size=(n, 1)) - rng.normal(size=m)) ** 2,
    ][rng.integers(8)]()
    kind = rng.integers(4)
    if kind == 0:
        a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    elif kind == 1:
        a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    else:
        low = 0 if kind == 2 else 1
        a, b = (rng.integers(low, 5, size=k).astype(float) for k in (n, m))
        a[0] += a.sum() == 0
        b[0] += b.sum() == 0
        a, b = a * b.sum(), b * a.sum()
    return cost, a, b


def planted_problem(rng: np.random.Generator, top: int) -> problems.Problem:
    """One of the planted kinds at random."""
    n, m = (int(k) for k in rng.integers(1, top, size=2, endpoint=True))
    kinds = [
        problems.planted_tree,
        problems.planted_degenerate,
        problems.planted_float,
        problems.planted_wide_range,
        problems.planted_zero_mass,
        problems.planted_negative,
    ]
    choice = rng.integers(len(kinds) + 1)
    if choice == len(kinds):
        return problems.planted_permutation(rng, n)
    return kinds[choice](rng, n, m)


def certificate(
    result: kantorch.OTResult, cost: np.ndarray, a: np.ndarray, b: np.ndarray, value: float | None
) -> str | None:
    """Why the result is not proved optimal, or None. Extended precision where the machine has it."""
    wide = np.longdouble
    plan, f, g = (t.numpy().astype(wide) for t in (result.plan, *result.potentials))
    c, wa, wb = (x.astype(wide) for x in (cost, a, b))
    mass = wa.sum()
    wb = wb * (mass / wb.sum()) if mass > 0 else wb
    span, scale = c.max() - c.min(), np.abs(c).max()
    if result.status != kantorch.Status.OPTIMAL:
        return f"status {int(result.status)}"
    if (plan < 0).any():
        return "negative plan"
    error = np.abs(plan.sum(1) - wa).sum() + np.abs(plan.sum(0) - wb).sum()
    if error > LIMIT * mass:
        return f"marginal error {error / mass}"
    if (c - f[:, None] - g).min() < -LIMIT * scale:
        return f"dual infeasible by {-(c - f[:, None] - g).min() / scale}"
    # A c-transform makes the dual point feasible without any tolerance.
    bound = wa @ (c - g).min(1) + wb @ g
    primal = (plan * c).sum()
    # Rounding of the duals themselves is relative to the costs, not to their span.
    if primal - bound > LIMIT * span * mass + 1e-14 * scale * mass:
        return f"gap {(primal - bound) / (span * mass)}"
    if (
        value is not None
        and abs(float(result.value) - value) > LIMIT * span * mass + 1e-14 * scale * mass
    ):
        return f"value {float(result.value)} instead of {value}"
    return None


def run_oracle(count: int, seed: int) -> int:
    """Compare with HiGHS; returns the number of confirmed faults."""
    rng = np.random.default_rng(seed)
    mismatches = faults = 0
    for k in range(count):
        cost, a, b = random_problem(rng, 10)
        result = kantorch.solve(*map(torch.from_numpy, (cost, a, b)))
        reason = certificate(result, cost, a, b, None)
        try:
            value = oracle.highs(cost, a, b)
        except RuntimeError:
            value = float("nan")
        scale = np.abs(cost).max() * a.sum()
        if not abs(float(result.value) - value) <= 1e-9 * scale:
            mismatches += 1
            exact = float(oracle.rational(cost, a, b).value)
            if abs(float(result.value) - exact) > 1e-13 * scale:
                reason = f"{float(result.value)!r} instead of {exact!r}"
        if reason:
            faults += 1
            report("oracle", k, reason, cost, a, b)
    say(
        f"oracle: {count} problems, {mismatches} disagreements with HiGHS, {faults} faults of kantorch"
    )
    return faults


def run_certificate(count: int, seed: int) -> int:
    """Check certificates; returns the number of faults."""
    rng = np.random.default_rng(seed)
    faults = 0
    for k in range(count):
        if k % 4:
            problem = planted_problem(rng, 400 if k % 512 == 1 else 64 if k % 16 == 1 else 12)
            cost, a, b, value = (
                *(t.numpy() for t in (problem.cost, problem.a, problem.b)),
                problem.value,
            )
        else:
            cost, a, b = random_problem(rng, 24)
            value = None
        result = kantorch.solve(*map(torch.from_numpy, (cost, a, b)))
        reason = certificate(result, cost, a, b, value)
        if reason:
            faults += 1
            report("certificate", k, reason, cost, a, b)
    say(f"certificate: {count} problems, {faults} faults")
    return faults


def run_ranges(count: int, seed: int) -> int:
    """Problems of all ranges; returns the number of faults."""
    rng = np.random.default_rng(seed)
    faults = limits = 0
    for k in range(count):
        answer = test_answer_scale.random_answer(rng, ["matrix", "line", "points"][k % 3])
        if answer is None:
            continue
        *parts, what = answer
        limits += int(parts[0].status) != kantorch.Status.OPTIMAL
        reasons = test_answer_scale.faults(*parts)
        if reasons:
            faults += 1
            say(f"ranges {k}: {what}: {reasons}")
    say(f"ranges: {count} problems, {limits} beyond precision or range, {faults} faults")
    return faults


def report(name: str, k: int, reason: str, *arrays: np.ndarray) -> None:
    """One fault, with enough to run it again when it is small."""
    say(f"{name} {k}: {reason}; shape {arrays[0].shape}")
    if arrays[0].size <= 30:
        say("\n".join(repr(x) for x in arrays))


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Parse the command line and run all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--oracle", type=int, default=1000)
    parser.add_argument("--certificate", type=int, default=10000)
    parser.add_argument("--ranges", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.perf_counter()
    faults = run_oracle(arguments.oracle, arguments.seed)
    faults += run_certificate(arguments.certificate, arguments.seed + 1)
    faults += run_ranges(arguments.ranges, arguments.seed + 2)
    say(f"{time.perf_counter() - start:.0f} s")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
