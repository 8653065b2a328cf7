"""A training step with ten critic steps for every convolution of a ResNet-50, together and layer by layer.

The floor is the same step on eight images without critics.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kantorch.critics import MinMaxTree
from kantorch.regularizers import FilterWasserstein, KernelPrior, kernels
from race import race

SAMPLES, STEPS, UNITS, RATE = 192, 10, 64, 1e-3
IMAGES, SIZE = 8, 64


class Bottleneck(nn.Module):
    def __init__(self, width: int, inner: int, stride: int) -> None:
        super().__init__()
        shapes = [(width, inner, 1, 1), (inner, inner, 3, stride), (inner, 4 * inner, 1, 1)]
        self.convolutions = nn.ModuleList(convolution(*shape) for shape in shapes)
        self.norms = nn.ModuleList(nn.BatchNorm2d(shape[1]) for shape in shapes)
        changes = stride > 1 or width != 4 * inner
        self.shortcut = convolution(width, 4 * inner, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer, norm in zip(self.convolutions, self.norms, strict=True):
            y = norm(layer(y)) if layer is self.convolutions[-1] else norm(layer(y)).relu()
        return (y + self.shortcut(x)).relu()


def convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def resnet() -> nn.Sequential:
    """A network of the size of ResNet-50: 53 convolutions of 1 x 1, 3 x 3 and 7 x 7."""
    layers: list[nn.Module] = [convolution(3, 64, 7, 2), nn.MaxPool2d(2)]
    width = 64
    for depth, inner in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(depth):
            layers.append(Bottleneck(width, inner, 2 if block == 0 and inner > 64 else 1))
            width = 4 * inner
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def critic(coordinates: int) -> MinMaxTree:
    return MinMaxTree(coordinates, UNITS)


def loop(model: nn.Sequential, prior: KernelPrior) -> Callable[[], Tensor]:
    """What a loop over layers does: each critic with an optimizer, draws and steps of its own."""
    critics = {name: critic(points.shape[1]) for name, points in prior.samples.items()}
    for name, points in prior.samples.items():
        critics[name].anchor(points)
    optimizers = {n: torch.optim.Adam(c.parameters(), lr=RATE) for n, c in critics.items()}

    def drawn(points: Tensor) -> Tensor:
        return points[torch.randint(len(points), (SAMPLES,))]

    def penalty() -> Tensor:
        total = torch.zeros(())
        for name, points in prior.samples.items():
            own = kernels(model.get_submodule(name).weight, prior.kernel)
            f, optimizer = critics[name], optimizers[name]
            for _ in range(STEPS):
                optimizer.zero_grad()
                loss = f(drawn(points)).mean() - f(drawn(own.detach())).mean()
                loss.backward()
                optimizer.step()
            total = total + f(drawn(own)).mean() - f(drawn(points)).mean().detach()
        return total

    return penalty


def training_step(
    network: nn.Sequential, penalty: Callable[[], Tensor] | None = None
) -> Callable[[], Tensor]:
    """A step of the whole network; it returns the penalty."""
    # A rate that hardly moves the kernels: the exact W1, which no critic may exceed, stays what it is.
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    images, labels = torch.randn(IMAGES, 3, SIZE, SIZE), torch.randint(10, (IMAGES,))

    def step() -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros(()) if penalty is None else penalty()
        (nn.functional.cross_entropy(network(images), labels) + total).backward()
        optimizer.step()
        return total.detach()

    return step


@pytest.mark.parametrize("kernel", ["slice", "filter"])
def bench_critics(benchmark: Any, kernel: str) -> None:
    torch.manual_seed(0)
    source, model = resnet(), resnet()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(parameter.abs().mean())
    prior = KernelPrior.from_models([source], kernel=kernel)
    other = copy.deepcopy(model)
    together = FilterWasserstein(
        model,
        prior,
        alpha=1.0,
        samples=SAMPLES,
        critics=critic,
        critic_steps=STEPS,
        critic_rate=RATE,
    )
    exact = FilterWasserstein(model, prior, alpha=1.0, samples=SAMPLES)().item()

    def penalty() -> Tensor:
        together.step()
        return together()

    race(
        benchmark,
        f"training step with critics of {len(together.layers)} convolutions by {kernel}, "
        f"{STEPS} steps of {SAMPLES} samples",
        training_step(model, penalty),
        {"a loop over layers": training_step(other, loop(other, prior))},
        # W1 between samples is above W1, and no critic of slope 1 can say more than W1.
        error=lambda total: max(0.0, total.item() / exact - 1),
        tolerance=0.05,
        floors={
            f"the step without, {IMAGES} images of {SIZE} x {SIZE}": training_step(resnet()),
        },
    )
