"""Interleaved timing: in each round every peer runs once, then kantorch, in one process.

Shared machines drift, so only ratios of medians within one race mean anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

Solver = Callable[[], Any]


def race(
    benchmark: Any,
    work: str,
    ours: Solver,
    peers: dict[str, Solver | None],
    *,
    error: Callable[[Any], float],
    tolerance: float,
    tolerances: dict[str, float] | None = None,
    seconds: float = 6.0,
) -> None:
    """Assert every contestant's answer, then time them turn by turn.

    Args:
        benchmark: pytest-benchmark's fixture; its own timer takes kantorch's times.
        work: what is solved; the row of the report.
        ours: kantorch.
        peers: who else; None for one that is not installed, which the report says.
        error: of what a contestant returns.
        tolerance: the largest error kantorch may have; written beside its time.
        tolerances: peers that do not reach `tolerance` state theirs here.
        seconds: about how long to race.
    """
    errors, durations = {}, {}
    absent = [name for name, solver in peers.items() if solver is None]
    present = {name: solver for name, solver in peers.items() if solver is not None}
    for name, solver in {"kantorch": ours, **present}.items():
        solver()  # first calls build caches and wake threads
        start = time.perf_counter()
        answer = solver()
        durations[name] = time.perf_counter() - start
        errors[name] = float(error(answer))
        allowed = (tolerances or {}).get(name, tolerance)
        assert errors[name] <= allowed, f"{work}: {name} is off by {errors[name]}, not {allowed}"
    rounds = int(np.clip(seconds / sum(durations.values()), 3, 200))
    times: dict[str, list[float]] = {name: [] for name in present}

    def run_peers() -> None:
        for name, solver in present.items():
            start = time.perf_counter()
            solver()
            times[name].append(time.perf_counter() - start)

    benchmark.group = work.partition(",")[0]
    benchmark.extra_info.update(work=work, errors=errors, peers=times, absent=absent)
    benchmark.pedantic(ours, setup=run_peers, rounds=rounds, iterations=1, warmup_rounds=0)
