"""Interleaved timing: in each round every peer runs once, then kantorch, in one process.

Shared machines drift, so only ratios of medians within one race mean anything. Contestants whose
first call takes long start without a warm-up, which would change little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

Solver = Callable[[], Any]
LONG = 2.0  # seconds of a call
LONG_ROUND = 20.0  # of all contestants together: one round is enough


def race(
    benchmark: Any,
    work: str,
    ours: Solver,
    peers: dict[str, Solver | None],
    *,
    error: Callable[[Any], float],
    tolerance: float,
    tolerances: dict[str, float] | None = None,
    floors: dict[str, Solver | None] | None = None,
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
        floors: part of the work only, which shows what the machine allows; timed like a peer.
        seconds: about how long to race.
    """
    everyone: dict[str, Solver | None] = {"kantorch": ours, **peers, **(floors or {})}
    absent = [name for name, solver in everyone.items() if solver is None]
    present = {name: solver for name, solver in everyone.items() if solver is not None}
    errors, durations = {}, {}
    for name, solver in present.items():
        duration, answer = timed(solver)  # first calls build caches and wake threads
        if duration < LONG:
            duration, answer = timed(solver)
        durations[name] = duration
        if name in (floors or {}):
            continue
        errors[name] = float(error(answer))
        allowed = (tolerances or {}).get(name, tolerance)
        assert errors[name] <= allowed, f"{work}: {name} is off by {errors[name]}, not {allowed}"
    together = sum(durations.values())
    rounds = int(np.clip(seconds / together, 1 if together > LONG_ROUND else 3, 200))
    del present["kantorch"]
    times: dict[str, list[float]] = {name: [] for name in present}

    def run_peers() -> None:
        for name, solver in present.items():
            times[name].append(timed(solver)[0])

    benchmark.group = work.partition(",")[0]
    benchmark.extra_info.update(work=work, errors=errors, peers=times, absent=absent)
    benchmark.pedantic(ours, setup=run_peers, rounds=rounds, iterations=1, warmup_rounds=0)


def relative_to(reference: Tensor) -> Callable[[Tensor], float]:
    """The largest relative error, for `race`."""
    return lambda value: float(((value.double() - reference) / reference).abs().max())


def timed(solver: Solver) -> tuple[float, Any]:
    """Seconds of one call, and what it returns."""
    start = time.perf_counter()
    answer = solver()
    return time.perf_counter() - start, answer
