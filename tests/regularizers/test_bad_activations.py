"""What is no batch of finite activations is an error that names network and layer, in every penalty."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from kantorch.regularizers import (
    BSS,
    DELTA,
    FitNet,
    KnowledgeDistillation,
    Layer,
    RepresentationTransport,
    channel_attention,
)
from regularizers.networks import moved, perceptron

LAYERS = ["hidden0", "hidden1"]
PENALTIES = {
    "BSS": lambda s, t: BSS(s, layers=LAYERS),
    "DELTA": lambda s, t: DELTA(s, t, layers=LAYERS),
    "FitNet": lambda s, t: FitNet(s, t, layers=LAYERS, example=torch.zeros(4, 4)),
    "KD": lambda s, t: KnowledgeDistillation(s, t, logits=Layer("hidden1")),
    "transport": lambda s, t: RepresentationTransport(s, t, layers=LAYERS),
}


def spoiled(value):
    """A hook that changes one activation."""

    def change(module, inputs, output):
        place = torch.zeros_like(output)
        place[3, 2] = value
        return output + place

    return change


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("kind", "owner"),
    [(k, o) for k in PENALTIES for o in ("student", "teacher") if (k, o) != ("BSS", "teacher")],
)
def test_network_layer_and_place_are_named(kind, owner, value):
    student = perceptron()
    teacher = moved(student)
    broken = {"student": student, "teacher": teacher}[owner]
    broken.hidden1.register_forward_hook(spoiled(value))
    penalty = PENALTIES[kind](student, teacher)
    student(torch.randn(16, 4))
    with pytest.raises(ValueError, match=rf"of {owner} layer 'hidden1' .*: \[3, 2\] is {value}"):
        penalty()


@pytest.mark.parametrize("kind", PENALTIES)
def test_an_empty_batch_is_refused(kind):
    student = perceptron()
    penalty = PENALTIES[kind](student, moved(student))
    student(torch.zeros(0, 4))
    with pytest.raises(ValueError, match=r"student layer 'hidden[01]' must .* shape \(0, \d+\)"):
        penalty()


def test_a_mean_that_overflows_is_named():
    student = nn.Sequential(nn.Identity())
    penalty = BSS(student, layers=["0"])
    with torch.no_grad():
        student(torch.full((3, 2, 4), 3e38).unsqueeze(-1))
        with pytest.raises(ValueError, match=r"layer '0' must be finite: \[0, 0\] is inf"):
            penalty()


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1])
def test_attention_that_weighs_nothing_is_refused(value):
    attention = {"hidden0": torch.tensor([0.2, 0.2, value, 0.2, 0.2, 0.2])}
    with pytest.raises(ValueError, match=rf"attention of layer 'hidden0' .* \[2\] is {value}"):
        DELTA(perceptron(), layers=["hidden0"], attention=attention)


def test_a_loss_that_is_not_finite_gives_no_attention():
    network = nn.Sequential(nn.Identity(), nn.Linear(3, 2))
    labels = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="loss must be finite over the batches, got nan"):
        channel_attention(network, [(torch.full((2, 3), math.nan), labels)], layers=["0"])
    x = torch.ones(2, 3)

    def divided(outputs, labels):
        return (1 / outputs).mean()

    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[0.0, 1, 0], [0, 1, 0]]))
        network[1].bias.zero_()
    with pytest.raises(ValueError, match="without channel 1 of layer '0' it is inf"):
        channel_attention(network, [(x, labels)], layers=["0"], loss=divided)


@pytest.mark.parametrize("kind", [kind for kind in PENALTIES if kind != "BSS"])
def test_a_student_that_changes_its_dtype_takes_the_penalty_along(kind):
    student, x = perceptron(), torch.randn(8, 4, dtype=torch.float64)
    penalty = PENALTIES[kind](student, moved(student))
    student.double()
    student(x)
    with pytest.raises(
        TypeError, match=r"student is torch\.float64 and the teacher torch\.float32"
    ):
        penalty()
    penalty.double()
    student(x)
    assert penalty().dtype == torch.float64


def test_regressors_of_another_dtype_are_named():
    student, x = perceptron(), torch.randn(8, 4, dtype=torch.float64)
    penalty = FitNet(student, moved(student), layers=LAYERS, example=x.float())
    penalty.watch.double()
    student.double()(x)
    with pytest.raises(TypeError, match=r"'hidden0' has torch\.float64, and its regr.* torch\.f"):
        penalty()


def test_an_error_of_the_teacher_itself_is_its_own():
    student = perceptron()
    teacher = moved(student)
    teacher.hidden0 = nn.Linear(5, 6)
    penalty = KnowledgeDistillation(student, teacher)
    student(torch.randn(8, 4))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        penalty()


@pytest.mark.parametrize("make", [DELTA, FitNet, RepresentationTransport, BSS])
@pytest.mark.parametrize("channel_dim", [0, 4, -4])
def test_a_dimension_that_cannot_hold_channels_is_named_with_its_layer(make, channel_dim):
    student, x = nn.Sequential(nn.Conv2d(3, 6, 3)), torch.randn(4, 3, 8, 8)

    def value():
        batch = {"example": x} if make is FitNet else {}
        penalty = make(student, layers=[Layer("0", channel_dim=channel_dim)], **batch)
        student(x)
        return penalty()

    with pytest.raises(ValueError, match=r"channel_dim must name a dimension of .* layer '0'"):
        value()
