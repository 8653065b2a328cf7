"""What a start is worth: over a training run, and from Sinkhorn or IPOT to the exact solution.

    python benchmarks/starts.py --out docs/benchmarks

A generator learns handwritten digits by the transport cost between its output and the data, and every
method solves every step's problem twice, in turns: from nothing, and from its potentials of the step
before. Then the exact solver starts from what the other methods reached.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

import kantorch
import machine
from report import duration

METHODS: dict[str, dict[str, Any]] = {
    "exact": {},
    "sinkhorn": {"method": "sinkhorn", "tol": 1e-5},
    "ipot": {"method": "ipot", "tol": 1e-3, "max_iter": 20_000},
}


def training_costs(n: int, steps: int, learning_rate: float) -> list[Tensor]:
    """The costs, 64 coordinates, float32, of the steps after the first ten."""
    torch.manual_seed(0)
    data = torch.from_numpy(load_digits().data).float()
    data = data[torch.randperm(len(data))[:n]] / 16
    noise = torch.randn(n, 16)
    generator = torch.nn.Sequential(
        torch.nn.Linear(16, 256), torch.nn.ReLU(), torch.nn.Linear(256, data.shape[1])
    )
    optimizer = torch.optim.Adam(generator.parameters(), lr=learning_rate)
    costs = []
    for _ in range(10 + steps):
        cost = torch.cdist(generator(noise), data).square()
        optimizer.zero_grad()
        kantorch.solve(cost).value.backward()
        optimizer.step()
        costs.append(cost.detach())
    return costs[10:]


def timed(solve: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and a result that was checked."""
    start = time.perf_counter()
    result = solve()
    return time.perf_counter() - start, result.check()


def over_training(n: int, steps: int, learning_rate: float) -> list[str]:
    """Rows of a table, one a method."""
    costs = training_costs(n, steps, learning_rate)
    rows = []
    for name, given in METHODS.items():
        options = dict(given)
        if name == "sinkhorn":
            options["reg"] = 0.05 * float(costs[0].mean())
        seconds: dict[str, list[float]] = {"cold": [], "warm": []}
        iterations: dict[str, list[int]] = {"cold": [], "warm": []}
        before = None
        for cost in costs:
            found = {}
            for kind, init in (("cold", None), ("warm", before)):
                if kind == "warm" and init is None:
                    continue
                taken, result = timed(
                    lambda cost=cost, init=init, options=options: kantorch.solve(
                        cost, potentials_init=init, **options
                    )
                )
                found[kind] = result
                seconds[kind].append(taken)
                iterations[kind].append(int(result.n_iter))
            last = found.get("warm", found["cold"])
            before = last.potential_a, last.potential_b
        cold, warm = (statistics.median(seconds[kind]) for kind in ("cold", "warm"))
        counts = (statistics.median(iterations[kind]) for kind in ("cold", "warm"))
        rows.append(
            f"| {name} | {n} | {learning_rate:g} | {duration(cold)} | {duration(warm)} | "
            f"**{cold / warm:.2f}** | {' | '.join(f'{count:.0f}' for count in counts)} |"
        )
        print(rows[-1], flush=True)
    return rows


def crossover(n: int, rounds: int = 7) -> list[str]:
    """Rows of a table: the exact solver alone and after another method."""
    cost = training_costs(n, 1, 1e-3)[0]
    reg = float(cost.mean())
    first = {
        "nothing": None,
        "Sinkhorn, reg = 0.01 of the mean": {"reg": 0.01 * reg, "tol": 1e-3},
        "Sinkhorn, reg = 0.001 of the mean": {"reg": 0.001 * reg, "tol": 1e-3},
        "IPOT, 100 steps": {"method": "ipot", "beta": 0.1 * reg, "tol": 0.0, "max_iter": 100},
    }
    seconds: dict[str, list[tuple[float, float, int]]] = {name: [] for name in first}
    for _ in range(rounds):
        for name, options in first.items():
            start = time.perf_counter()
            init = None
            if options is not None:
                result = kantorch.solve(cost, **options)
                init = result.potential_a, result.potential_b
            before = time.perf_counter() - start
            taken, exact = timed(lambda init=init: kantorch.solve(cost, potentials_init=init))
            seconds[name].append((before, taken, int(exact.n_iter)))
    rows = []
    for name, values in seconds.items():
        before, taken, count = (statistics.median(column) for column in zip(*values, strict=True))
        rows.append(f"| {n} | {name} | {duration(before)} | {duration(taken)} | {count:.0f} |")
        print(rows[-1], flush=True)
    return rows


def main() -> int:
    """Measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "latest")
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(machine.THREADS)
    lines = [
        machine.describe(machine.record()),
        "",
        "A training run: every step's problem from nothing (cold) and from the step before (warm), medians.",
        "",
        "| method | n | learning rate | cold | warm | ratio | iterations cold | warm |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for n in (256, 1000):
        for learning_rate in (1e-4, 1e-3):
            lines += over_training(n, options.steps, learning_rate)
    lines += [
        "",
        "The exact solver from the potentials of another method; its own start is an annealed Sinkhorn.",
        "",
        "| n | from | time for that | exact, then | iterations |",
        "|---|---|---|---|---|",
    ]
    for n in (256, 1000):
        lines += crossover(n)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "starts.md").write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
