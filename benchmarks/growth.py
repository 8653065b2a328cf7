"""How time grows with the size of a problem, of a batch, and with the threads: log-log plots.

    python benchmarks/growth.py --out docs/benchmarks

Every point is the median of rounds in which the contestants take turns; a contestant leaves when a
solve of its takes longer than the limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import kantorch
import machine
from peers import optional, torch_ipot, torch_sinkhorn
from workloads import clouds, tensors

ITERATIONS = 100
Contestants = dict[str, Callable[[], Any]]


def exact(n: int, batch: int, threads: int) -> Contestants:
    """Weighted clouds in the plane, float64."""
    cost, a, b = clouds(n, batch=batch)
    cost_, a_, b_ = tensors(cost, a, b)
    contestants = {"kantorch": lambda: kantorch.solve(cost_, a_, b_, num_threads=threads).value}
    if ot := optional("ot"):
        contestants["POT ot.emd"] = lambda: [
            ot.emd(a[k], b[k], cost[k], numItermax=10**9) for k in range(batch)
        ]
    return contestants


def sinkhorn(n: int, batch: int, threads: int) -> Contestants:
    """A fixed number of iterations in float32."""
    cost, a, b = tensors(*clouds(n, batch=batch), dtype=torch.float32)
    return {
        "kantorch": lambda: (
            kantorch.solve(
                cost, a, b, reg=0.05, tol=0.0, max_iter=ITERATIONS, num_threads=threads
            ).value
        ),
        "torch logsumexp": lambda: torch_sinkhorn(cost, a, b, 0.05, ITERATIONS),
    }


def ipot(n: int, batch: int, threads: int) -> Contestants:
    """A fixed number of steps in float32."""
    cost, a, b = tensors(*clouds(n, batch=batch), dtype=torch.float32)
    return {
        "kantorch": lambda: (
            kantorch.solve(
                cost,
                a,
                b,
                method="ipot",
                beta=0.1,
                tol=0.0,
                max_iter=ITERATIONS,
                num_threads=threads,
            ).value
        ),
        "torch, dense plan": lambda: torch_ipot(cost, a, b, 0.1, ITERATIONS),
    }


METHODS = {"exact": exact, "sinkhorn": sinkhorn, "ipot": ipot}
SIZES = [64, 128, 256, 512, 1024, 2048, 4096, 8192]
BATCHES = [1, 4, 16, 64, 256, 1024]


def measure(
    method: str, n: int, batch: int, threads: int, retired: set[str], limit: float
) -> dict[str, float]:
    """Median seconds of each contestant that has not retired."""
    torch.set_num_threads(threads)
    contestants = METHODS[method](n, batch, threads)
    times: dict[str, list[float]] = {name: [] for name in contestants if name not in retired}
    start = time.perf_counter()
    rounds = 0
    while rounds < 3 or (time.perf_counter() - start < 1.0 and rounds < 30):
        for name in list(times):
            before = time.perf_counter()
            contestants[name]()
            seconds = time.perf_counter() - before
            times[name].append(seconds)
            if seconds > limit:
                retired.add(name)
        rounds += 1
        if rounds == 1 and time.perf_counter() - start > 3 * limit:
            break
    return {name: statistics.median(values) for name, values in times.items()}


def sweep(limit: float) -> list[dict[str, Any]]:
    """All points, printed as they come."""
    points = []
    for method in METHODS:
        for threads in (1, 2):
            for axis, values in (("n", SIZES), ("batch", BATCHES)):
                retired: set[str] = set()
                for value in values:
                    n, batch = (value, 1) if axis == "n" else (64, value)
                    if "kantorch" in retired:
                        break
                    medians = measure(method, n, batch, threads, retired, limit)
                    point = {"method": method, "axis": axis, "n": n, "batch": batch}
                    points.append(point | {"threads": threads, "seconds": medians})
                    print(points[-1], flush=True)
    return points


def draw(record: dict[str, Any], path: Path) -> None:
    """One panel a method and axis; dashed lines are one thread, solid ones two."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    points = record["points"]
    figure, panels = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
    for column, method in enumerate(METHODS):
        for row, axis in enumerate(("n", "batch")):
            axes = panels[row][column]
            chosen = [p for p in points if p["method"] == method and p["axis"] == axis]
            names = list(dict.fromkeys(name for p in chosen for name in p["seconds"]))
            for colour, name in zip(("C0", "C1", "C2"), names, strict=False):
                for threads, style in ((1, "--"), (2, "-")):
                    line = [
                        (p[axis], p["seconds"][name])
                        for p in chosen
                        if p["threads"] == threads and name in p["seconds"]
                    ]
                    label = f"{name}, {threads} thread{'s' * (threads > 1)}"
                    axes.plot(
                        *zip(*line, strict=True), style, marker=".", color=colour, label=label
                    )
            axes.set(xscale="log", yscale="log", ylabel="seconds")
            axes.set_xlabel("n, one problem of n x n" if axis == "n" else "problems of 64 x 64")
            axes.set_title(method if method == "exact" else f"{method}, {ITERATIONS} iterations")
            axes.grid(which="both", alpha=0.2)
            axes.legend(fontsize=8)
    figure.supxlabel(machine.describe(record["machine"]), fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> int:
    """Measure, save, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "latest")
    parser.add_argument("--json", type=Path, help="draw a saved run; none: measure now")
    parser.add_argument("--limit", type=float, default=4.0, help="seconds a solve may take")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.json is not None:
        record = json.loads(options.json.read_text())
        draw(record, options.out / "growth.png")
        return 0
    points = sweep(options.limit)
    record = {"machine": machine.record(), "points": points}
    (options.out / "growth.json").write_text(json.dumps(record, indent=1))
    draw(record, options.out / "growth.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
