"""What a penalty adds to a training step: of a network of the size of ResNet-50, in turns.

    python benchmarks/steps.py --rounds 3

A WRN-28-10 (5.2 billion multiply-adds an image of 32 x 32, ResNet-50 has 4.1 at 224 x 224) ends in a
layer of d neurons, which the penalty compares with those of a teacher of the same kind. A frozen
teacher's forward pass costs about a third of a step, whatever the penalty; it stands in a row of its
own, and the last column is the time of what comes on top of it.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import machine
from kantorch.models import WideResNet
from kantorch.regularizers import L2SP, RepresentationTransport, Watch
from report import duration

BATCH = 64
WIDTHS = (512, 2048)
TRANSPORTS: dict[str, dict[str, Any]] = {
    "uniform": {"kind": "uniform"},
    "identity": {"kind": "identity"},
    "optimal, IPOT, 100 steps": {"solver": "ipot"},
    "optimal, exact": {"solver": "exact"},
    "optimal, Sinkhorn": {"solver": "sinkhorn"},
    "optimal, exact, renewed every 10 steps": {"solver": "exact", "renew_every": 10},
    "the same, teacher in bfloat16": {"solver": "exact", "renew_every": 10},
}


class Student(nn.Module):
    """The trunk, d neurons, and a head."""

    def __init__(self, depth: int, widen: int, width: int) -> None:
        super().__init__()
        self.trunk = WideResNet(depth, widen, classes=width)
        self.neurons = nn.ReLU()
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.neurons(self.trunk(images)))


def stepper(network: nn.Module, penalty: Callable[[Tensor], Any] | None) -> Callable[[], float]:
    """Takes a training step, and returns its seconds."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    images, labels = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))

    def step() -> float:
        start = time.perf_counter()
        loss = nn.functional.cross_entropy(network(images), labels)
        if penalty is not None:
            loss = loss + penalty(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.perf_counter() - start

    return step


def contestants(start: nn.Module) -> dict[str, Callable[[], float]]:
    """A step of each kind, from equal networks; the teacher is a little apart."""
    teacher = copy.deepcopy(start)
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.add_(0.1 * weight.std(unbiased=False) * torch.randn_like(weight))

    def teacher_pass(images: Tensor) -> float:
        with torch.no_grad():
            teacher(images)
        return 0.0

    steps = {"none": stepper(copy.deepcopy(start), None)}
    network = copy.deepcopy(start)
    steps["L2-SP"] = stepper(network, L2SP(network, head=["head"], alpha=1e-3))
    steps["the teacher's forward pass alone"] = stepper(copy.deepcopy(start), teacher_pass)
    teacher.eval()
    for name, options in TRANSPORTS.items():
        network = copy.deepcopy(start)
        reduced = torch.bfloat16 if "bfloat16" in name else None
        watch = Watch(network, copy.deepcopy(teacher), teacher_dtype=reduced)
        penalty = RepresentationTransport(watch, layers=["neurons"], alpha=1e-3, **options)
        steps[name] = stepper(network, penalty)
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--depth", type=int, default=28, help="of the wide ResNet, 6 k + 4")
    parser.add_argument("--widen", type=int, default=10)
    arguments = parser.parse_args()
    print(machine.describe(machine.record()), "\n")
    print("| d | penalty | step | over none | on top of the teacher |\n|---|---|---|---|---|")
    for width in WIDTHS:
        torch.manual_seed(0)
        steps = contestants(Student(arguments.depth, arguments.widen, width))
        times: dict[str, list[float]] = {name: [] for name in steps}
        for round_ in range(arguments.rounds + 1):
            for name, step in steps.items():
                seconds = step()
                if round_:  # the first warms up
                    times[name].append(seconds)
        medians = {name: statistics.median(found) for name, found in times.items()}
        passed = medians["the teacher's forward pass alone"]
        for name, median in medians.items():
            own = f"{(median - passed) / medians['none']:+.3f}" if name in TRANSPORTS else ""
            print(
                f"| {width} | {name} | {duration(median)} | {median / medians['none']:.3f} | {own} |"
            )


if __name__ == "__main__":
    main()
