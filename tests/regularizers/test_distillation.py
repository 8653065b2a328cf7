"""Distillation and hints: their formulas, and that regressors train."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kantorch.regularizers import L2, FitNet, KnowledgeDistillation, Sum
from regularizers.networks import moved, perceptron


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_the_divergence_of_softened_classes(temperature, scaled):
    student = perceptron(dtype=torch.float64)
    teacher = moved(student)
    x = torch.randn(8, 4, dtype=torch.float64)
    penalty = KnowledgeDistillation(
        student, teacher, temperature=temperature, scaled=scaled, alpha=0.7
    )
    p, q = (torch.softmax(n(x) / temperature, 1) for n in (teacher, student))
    expected = 0.7 * (p * (p / q).log()).sum(1).mean() * (temperature**2 if scaled else 1)
    torch.testing.assert_close(penalty(), expected)


def test_equal_networks_have_nothing_to_distil():
    student, x = perceptron(dtype=torch.float64), torch.randn(8, 4, dtype=torch.float64)
    penalty = KnowledgeDistillation(student, copy.deepcopy(student))
    student(x)
    value = penalty()
    assert value.item() == 0
    value.backward()
    assert max(p.grad.abs().max().item() for p in student.parameters()) < 1e-15


def test_another_set_of_classes_is_refused_by_shape():
    student = perceptron()
    teacher = moved(student)
    teacher.head = nn.Linear(10, 5)
    penalty = KnowledgeDistillation(student, teacher)
    student(torch.randn(8, 4))
    with pytest.raises(ValueError, match=r"got \(8, 3\) and \(8, 5\)"):
        penalty()
    with pytest.raises(ValueError, match="temperature must be finite and > 0, got 0"):
        KnowledgeDistillation(student, teacher, temperature=0)
    with pytest.raises(ValueError, match="teacher must be a network, got None"):
        KnowledgeDistillation(student)


def test_logits_that_are_not_finite_are_named():
    student = perceptron()
    penalty = KnowledgeDistillation(student, moved(student))
    with torch.no_grad():
        penalty.watch.teacher.head.bias[1] = float("inf")
    student(torch.randn(8, 4))
    with pytest.raises(ValueError, match=r"teacher layer '' must be finite: \[0, 1\] is inf"):
        penalty()


def maps(width, stride):
    return nn.Sequential(nn.Conv2d(1, width, 3, stride=stride, padding=1), nn.ReLU())


def test_a_hint_is_the_mean_squared_distance_after_the_regressor():
    student, teacher = maps(4, 1).double(), maps(7, 1).double()
    x = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    penalty = FitNet(student, teacher, layers=["1"], example=x[:1], alpha=0.5)
    regressor = penalty.regressors[0]
    weight = regressor.weight[:, :, None, None]
    expected = nn.functional.conv2d(student(x), weight, regressor.bias) - teacher(x)
    torch.testing.assert_close(penalty(), 0.5 * expected.square().mean())


def test_maps_of_another_size_are_pooled():
    student, teacher = maps(4, 1), maps(7, 2)
    x = torch.randn(5, 1, 8, 8)
    penalty = FitNet(student, teacher, layers=["1"], example=x)
    mapped = penalty.regressors[0](student(x).movedim(1, -1)).movedim(-1, 1)
    expected = nn.functional.avg_pool2d(mapped, 2) - teacher(x)
    torch.testing.assert_close(penalty(), expected.square().mean())


def test_making_a_hint_leaves_the_student_as_it_was():
    student = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    before = copy.deepcopy(student.state_dict())
    FitNet(student, moved(student), layers=["1"], example=torch.randn(3, 4))
    assert student.training
    assert student[1].training
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())


def test_regressors_train_with_the_student():
    student, teacher = perceptron((6,)), perceptron((9,), seed=3)
    x = torch.randn(32, 4)
    penalty = FitNet(student, teacher, layers=["hidden0"], example=x[:1])
    trained = [p for p in penalty.parameters() if p.requires_grad]
    assert [p.shape for p in trained] == [(9, 6), (9,)]
    optimizer = torch.optim.Adam([*student.parameters(), *trained], lr=0.02)
    values = []
    for _ in range(100):
        optimizer.zero_grad()
        student(x)
        value = penalty()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.2 * values[0]


def test_a_sum_names_its_penalties_and_refuses_what_is_none():
    model = perceptron()
    total = Sum(L2(model, alpha=0.1), L2(model, alpha=0.2), mine=L2(model, alpha=0.4), alpha=2.0)
    value = total()
    torch.testing.assert_close(value, 2 * L2(model, alpha=0.7)())
    assert list(total.terms) == ["L2/weights", "L22/weights", "mine/weights"]
    with pytest.raises(ValueError, match="at least one regularizer"):
        Sum()
    with pytest.raises(TypeError, match="penalties must be modules, got float as 'float'"):
        Sum(0.1)
    with pytest.raises(ValueError, match="names of penalties must differ, got 'L2' twice"):
        Sum(L2(model), L2=L2(model))


def test_fitnet_of_half_precision_takes_squares_that_leave_its_range():
    student, teacher = nn.Linear(4, 4).half(), nn.Linear(4, 4).half()
    torch.nn.init.constant_(teacher.bias, 400.0)
    x = torch.randn(8, 4).half()
    penalty = FitNet(student, teacher, layers=[""], example=x)
    student(x)
    value = penalty()
    assert 1e5 < value.item() < 3e5
