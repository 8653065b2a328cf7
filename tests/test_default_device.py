"""What has tensors at hand computes where these are, whatever torch.set_default_device says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import kantorch
from kantorch.regularizers import (
    BSS,
    DELTA,
    L2SP,
    FilterWasserstein,
    KernelPrior,
    LabelTransport,
    RepresentationTransport,
    channel_attention,
    label_cost,
)
from kantorch.w1 import FunnelPair, NetworkPair


def of_solver(**options):
    cost = torch.rand(3, 5, 6, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
    result = kantorch.solve(cost, **options)
    return result.value.sum() + result.plan.sum() + result.lower_bound.sum()


def of_points(**options):
    draw = torch.Generator("cpu").manual_seed(0)
    x, y = (torch.rand(n, 2, generator=draw, device="cpu") for n in (5, 6))
    result = kantorch.solve_sample(x, y, **options)
    return result.value + result.plan.sum() + result.lower_bound


def of_classes(method):
    draw = torch.Generator("cpu").manual_seed(0)
    features = torch.randn(40, 3, generator=draw, device="cpu")
    labels = torch.arange(40, device="cpu") % 4
    given = torch.Generator("cpu").manual_seed(1)
    return label_cost(features, labels, features, labels, method=method, generator=given)


def network():
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 3))


def images():
    return torch.rand(6, 2, 4, 4, generator=torch.Generator("cpu").manual_seed(0), device="cpu")


def of_activations(make):
    student, teacher = network(), network()
    with torch.no_grad():
        student[0].weight.mul_(1.5)
    penalty = make(student, teacher)
    student(images())
    return penalty()


def of_attention():
    batch = images(), torch.arange(6, device="cpu") % 3
    return channel_attention(network(), [batch], layers=["0"])["0"]


def of_labels():
    penalty = LabelTransport(
        torch.rand(3, 4, generator=torch.Generator("cpu"), device="cpu"), reg=0.1
    )
    return penalty(images().flatten(1)[:, :3], images().flatten(1)[:, :4])


def of_weights(make):
    model = network()
    penalty = make(model)
    with torch.no_grad():
        model[0].weight.mul_(1.5)
    return penalty()


def of_pair(pair):
    x, y = pair.plan(10, torch.Generator("cpu").manual_seed(0))
    return (x - y).sum()


CALLS: dict[str, Callable[[], torch.Tensor]] = {
    "exact": of_solver,
    "sinkhorn": lambda: of_solver(reg=0.1),
    "ipot": lambda: of_solver(method="ipot"),
    "points": of_points,
    "sinkhorn between points": lambda: of_points(reg=0.1, metric="euclidean"),
    "transport between classes": lambda: of_classes("ot"),
    "MK-MMD": lambda: of_classes("mkmmd"),
    "transport of neurons": lambda: of_activations(
        lambda s, t: RepresentationTransport(s, t, layers=["0"])
    ),
    "DELTA": lambda: of_activations(lambda s, t: DELTA(s, t, layers=["0"], head=["2"])),
    "BSS": lambda: of_activations(lambda s, t: BSS(s, layers=["0"])),
    "attention": of_attention,
    "L2SP": lambda: of_weights(lambda model: L2SP(model, head=[], alpha=1.0)),
    "filters": lambda: of_weights(
        lambda model: FilterWasserstein(model, KernelPrior.from_models([network()]))
    ),
    "labels": of_labels,
    "funnels": lambda: of_pair(FunnelPair.draw(2, 4)),
    "network pair": lambda: of_pair(NetworkPair.draw(3)),
}


@pytest.fixture
def _default_device():
    torch.set_default_device("meta")  # any but the CPU: what is made there has no values
    yield
    torch.set_default_device(None)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_it_computes_where_its_tensors_are(call, request):
    torch.manual_seed(3)
    want = call()
    request.getfixturevalue("_default_device")
    torch.manual_seed(3)
    got = call()
    assert got.device.type == "cpu"
    torch.testing.assert_close(got, want, rtol=0, atol=0)
