"""Batch spectral shrinkage is the tail of the singular values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kantorch.regularizers import BSS
from regularizers.networks import perceptron


def features_of(matrix, **options):
    network = nn.Sequential(nn.Identity())
    penalty = BSS(network, layers=["0"], alpha=1.0, **options)
    with torch.set_grad_enabled(matrix.requires_grad):
        network(matrix)
        return penalty()


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (6, 6)])
@pytest.mark.parametrize("k", [1, 3])
def test_it_is_the_tail_of_the_singular_values(shape, k):
    left, _ = torch.linalg.qr(torch.randn(shape[0], min(shape), dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(shape[1], min(shape), dtype=torch.float64))
    values = torch.arange(1.0, min(shape) + 1, dtype=torch.float64)
    matrix = (left * values) @ right.T
    expected = values[:k].square().sum()
    torch.testing.assert_close(features_of(matrix, k=k), expected)


def test_its_gradient_is_that_of_the_tail():
    matrix = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: features_of(m, k=2), matrix)


def test_features_of_lower_rank_have_no_gradient_and_no_nan():
    matrix = (torch.ones(5, 1, dtype=torch.float64) @ torch.ones(1, 4).double()).requires_grad_()
    (gradient,) = torch.autograd.grad(features_of(matrix), matrix)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_maps_are_averaged_over_their_positions():
    maps = torch.randn(6, 3, 4, 4)
    torch.testing.assert_close(features_of(maps), features_of(maps.mean((2, 3))))


def test_it_trains_the_student_and_layers_add_up():
    student = perceptron()
    x = torch.randn(12, 4)
    single = []
    for layers in (["hidden0"], ["hidden1"], ["hidden0", "hidden1"]):
        penalty = BSS(student, layers=layers, alpha=0.5)
        student(x)
        single.append(penalty(x))
        penalty.close()
    torch.testing.assert_close(single[2], single[0] + single[1])
    single[2].backward()
    assert student.hidden0[0].weight.grad.abs().sum() > 0


def test_too_large_a_k_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"k=5 and features of shape \(4, 9\) in layer '0'"):
        features_of(torch.randn(4, 9), k=5)


@pytest.mark.parametrize("k", [0, -1, 1.0, "1", True])
def test_a_k_that_is_no_count_is_refused(k):
    with pytest.raises(ValueError, match=f"k must be an integer >= 1, got {k!r}"):
        BSS(perceptron(), layers=["hidden0"], k=k)
