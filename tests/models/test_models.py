"""The networks have the papers' shapes and numbers of parameters, and can be trained and watched."""

from __future__ import annotations

import pytest
import torch

from kantorch.models import MODELS, CifarResNet, WideResNet, make_model
from kantorch.regularizers import RepresentationTransport

WIDTHS = {"resnet56": 256, "resnet56-slim": 128, "resnet1001": 256, "wrn-28-10": 640}


def on_meta(name, classes=10):
    with torch.device("meta"):
        return make_model(name, classes=classes)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_pool_is_the_penultimate_layer(name):
    network = on_meta(name)
    seen = []
    network.pool.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    logits = network(torch.zeros(2, 3, 32, 32, device="meta"))
    assert logits.shape == (2, 10)
    assert seen == [(2, WIDTHS[name])]
    assert network.head.in_features == WIDTHS[name]


# Millions, as published to one decimal.
@pytest.mark.parametrize(
    ("name", "classes", "millions"),
    [("resnet1001", 10, 10.2), ("wrn-28-10", 10, 36.5), ("wrn-28-10", 100, 36.5)],
)
def test_published_numbers_of_parameters(name, classes, millions):
    assert parameters(on_meta(name, classes)) / 1e6 == pytest.approx(millions, abs=0.15)


def bottlenecks(count, slim, classes):
    """Weights of such a network, counted from its definition alone."""
    total, before = 3 * 16 * 9, 16
    for stage in range(3):
        inner = 16 * 2**stage // slim
        width = 4 * inner
        for block in range(count):
            total += 2 * before + before * inner + 2 * inner + 9 * inner**2 + 2 * inner
            total += inner * width
            if block == 0 and (before != width or stage > 0):
                total += before * width
            before = width
    return total + 2 * before + before * classes + classes


@pytest.mark.parametrize(
    ("name", "count", "slim"),
    [("resnet56", 6, 1), ("resnet56-slim", 6, 2), ("resnet1001", 111, 1)],
)
def test_numbers_of_parameters_of_bottlenecks(name, count, slim):
    assert parameters(on_meta(name)) == bottlenecks(count, slim, 10)


@pytest.mark.parametrize(
    ("network", "depth"), [(CifarResNet(29), 29), (WideResNet(16, 1), 16), (WideResNet(10, 2), 10)]
)
def test_depth_counts_layers_with_weights(network, depth):
    # The literature counts a bottleneck for three layers and not its shortcut; of wide ones, the
    # first two of the three shortcuts that change width stand for what the stem and head leave.
    layers = [
        name
        for name, module in network.named_modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)) and "shortcut" not in name
    ]
    surplus = 2 if isinstance(network, WideResNet) else 0
    assert len(layers) + surplus == depth


def test_a_slim_student_learns_from_a_wide_teacher():
    torch.manual_seed(0)
    student, teacher = CifarResNet(11, slim=2), WideResNet(10, 2)
    penalty = RepresentationTransport(student, teacher, layers=["pool"])
    student(torch.randn(4, 3, 16, 16))
    penalty().backward()
    assert penalty.plans["pool"].shape == (128, 128)
    assert all(p.grad is not None for name, p in student.named_parameters() if "head" not in name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CifarResNet(57), r"depth must be 9 k \+ 2, got 57"),
        (lambda: CifarResNet(56, slim=3), "slim must be 1, 2, 4, 8 or 16, got 3"),
        (lambda: CifarResNet(56, classes=0), "classes must be an integer >= 1, got 0"),
        (lambda: WideResNet(27, 10), r"depth must be 6 k \+ 4, got 27"),
        (lambda: WideResNet(28, 0), "widen must be an integer >= 1, got 0"),
        (lambda: WideResNet(28, 10, dropout=1.0), r"dropout must be in \[0, 1\), got 1.0"),
        (lambda: make_model("resnet55", classes=10), "name"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
