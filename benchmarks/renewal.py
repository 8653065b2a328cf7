"""What is lost if optimal plans are renewed in every so many steps: no times, so that any machine will do.

    python benchmarks/renewal.py --seeds 10

The networks and data of `kantorch distill --preset strong-teacher`: a student of other widths than its
teacher's is fine-tuned on five labels a class. In every step the penalty at the plan in use is compared
with that at the optimal plan of the same mini-batch; afterwards the network is tested.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kantorch.drivers import Distill, DistillSettings
from kantorch.regularizers import RepresentationTransport, Watch

EVERY = (1, 2, 5, 10, 25, 50)
STEPS, BATCH, ALPHA, RATE = 150, 32, 3.0, 0.05


def train(network: nn.Module, examples: tuple[Tensor, ...], steps: int, batch: int) -> None:
    """Learn the source task."""
    images, labels = examples
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9)
    for _ in range(steps):
        drawn = torch.randint(len(labels), (batch,))
        optimizer.zero_grad()
        cross_entropy(network(images[drawn]), labels[drawn]).backward()
        optimizer.step()


def fine_tune(driver: Distill, teacher: nn.Module, start: nn.Module, seed: int, every: int):
    """Relative excess of the penalty over the optimal one, mean over the steps, and the accuracy."""
    torch.manual_seed(seed)
    student = driver.make(driver.outputs, seed)
    weights = {k: v for k, v in start.state_dict().items() if not k.startswith(driver.head)}
    student.load_state_dict(weights, strict=False)
    watch = Watch(student, teacher)
    options = {"layers": ["pool"], "alpha": ALPHA, "solver": "exact", "normalize": True}
    penalty = RepresentationTransport(watch, renew_every=every, **options)
    optimal = RepresentationTransport(watch, **options)
    optimizer = torch.optim.SGD(student.parameters(), lr=RATE, momentum=0.9)
    images, labels = driver.tasks.target(seed).train.tensors
    excess = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE if step < 2 * STEPS // 3 else RATE / 10
        drawn = torch.randint(len(labels), (BATCH,))
        loss = cross_entropy(student(images[drawn]), labels[drawn])
        paid = penalty()
        excess.append(paid.item() / optimal().item() - 1)
        optimizer.zero_grad()
        (loss + paid).backward()
        optimizer.step()
    penalty.close()
    optimal.close()
    images, labels = driver.tasks.test().tensors
    with torch.no_grad():
        right = (student(images).argmax(1) == labels).double().mean().item()
    return statistics.fmean(excess), right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    seeds = range(parser.parse_args().seeds)
    driver = Distill(DistillSettings.from_mapping({}))
    s, tasks = driver.settings, driver.tasks
    torch.manual_seed(0)
    teacher = driver.make(driver.source_outputs, 0, driver.teacher_backbone)
    start = driver.make(driver.source_outputs, 1)
    train(teacher, tasks.source().train.tensors, s.pretrain_steps, s.pretrain_batch_size)
    few = tasks.source(s.start_per_class).train.tensors
    train(start, few, s.pretrain_steps, s.pretrain_batch_size)
    print("| renewed every | penalty above the optimal one | test accuracy |\n|---|---|---|")
    for every in EVERY:
        found = [fine_tune(driver, teacher, start, seed, every) for seed in seeds]
        excess, right = map(statistics.fmean, zip(*found, strict=True))
        print(f"| {every} | {100 * excess:.2f} % | {100 * right:.2f} % |", flush=True)


if __name__ == "__main__":
    main()
