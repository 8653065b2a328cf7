"""The exact solver at every SIMD level of this processor, turn by turn in one process.

python benchmarks/levels.py            # all problems
python benchmarks/levels.py --peer     # POT beside them
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch

import kantorch
from bench_exact import BATCHED, SINGLE
from kantorch import ops
from machine import THREADS, describe, record
from race import timed
from report import duration
from workloads import tensors

WORK = SINGLE | BATCHED


def main() -> None:
    """Measure and print one row per problem."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--peer", action="store_true", help="race POT, too")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("-k", default="", help="only problems whose name holds this")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    levels = available()
    names = [*levels, *(["POT"] if options.peer else [])]
    print(describe(record()))
    print(f"Medians of up to {options.rounds} interleaved rounds in one process.\n")
    print(f"| problem | {' | '.join(names)} | {levels[0]} / {levels[-1]} |")
    print("|---|" + "---|" * (len(names) + 1))
    for name, make in WORK.items():
        if options.k not in name:
            continue
        times = measure(make(), levels, options.peer, options.rounds)
        ratio = times[levels[0]] / times[levels[-1]]
        cells = " | ".join(duration(times[contestant]) for contestant in names)
        print(f"| {name} | {cells} | **{ratio:.2f}** |", flush=True)


def available() -> list[str]:
    """The levels of this processor from AVX2 on, or the baseline alone."""
    chosen, found = ops.simd_level(), []
    for level in ("avx2", "avx512"):
        try:
            ops.set_simd_level(level)
            found.append(level)
        except ValueError:
            pass
    ops.set_simd_level(chosen)
    return found or ["baseline"]


def measure(arrays: Any, levels: list[str], peer: bool, rounds: int) -> dict[str, float]:
    """Median seconds of each contestant; every level must find the same value."""
    cost, a, b = tensors(*arrays)
    contestants: dict[str, Callable[[], Any]] = {
        level: lambda: kantorch.solve(cost, a, b).value for level in levels
    }
    if peer:
        contestants["POT"] = lambda: pot(*arrays)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    values = {}
    chosen = ops.simd_level()
    try:
        for turn in range(rounds + 1):
            for name, solver in contestants.items():
                if name in levels:
                    ops.set_simd_level(name)
                seconds, values[name] = timed(solver)
                if turn:  # the first wakes threads and fills caches
                    times[name].append(seconds)
            if sum(map(sum, times.values())) > 60:
                break
    finally:
        ops.set_simd_level(chosen)
    for level in levels:
        torch.testing.assert_close(values[level], values[levels[0]], rtol=1e-12, atol=0)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def pot(cost: Any, a: Any, b: Any) -> Any:
    """POT's value of one problem, or of each."""
    import ot

    if cost.ndim == 2:
        return ot.emd2(a, b, cost, numItermax=10_000_000)
    return [ot.emd2(*problem, numItermax=10_000_000) for problem in zip(a, b, cost, strict=True)]


if __name__ == "__main__":
    main()
