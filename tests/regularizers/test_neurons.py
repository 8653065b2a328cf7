"""Activations as rows, and the distances between them."""

from __future__ import annotations

import pytest
import torch

from kantorch.regularizers import neuron_cost, neurons


def test_rows_are_neurons_of_a_flat_layer():
    features = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(neurons(features), features.T)


def test_rows_of_a_feature_map_are_its_spatial_means():
    features = torch.randn(3, 2, 4, 5)
    for i in range(3):
        for d in range(2):
            torch.testing.assert_close(neurons(features)[d, i], features[i, d].mean())


def test_rows_of_a_flattened_feature_map_hold_every_position():
    features = torch.randn(3, 2, 4, 5)
    rows = neurons(features, spatial="flatten")
    assert rows.shape == (2, 60)
    assert torch.equal(rows[1], torch.cat([features[i, 1].flatten() for i in range(3)]))


def test_the_last_dimension_can_hold_the_neurons():
    tokens = torch.randn(3, 7, 5)
    torch.testing.assert_close(neurons(tokens, channel_dim=-1), tokens.mean(dim=1).T)
    assert neurons(tokens, channel_dim=-1, spatial="flatten").shape == (5, 21)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_computed_in_float32_with_gradient(dtype):
    student = torch.randn(8, 4).to(dtype).requires_grad_()
    teacher = torch.randn(8, 5).to(dtype)
    cost = neuron_cost(student, teacher)
    assert cost.dtype == torch.float32
    reference = torch.cdist(student.detach().float().T, teacher.float().T)
    torch.testing.assert_close(cost, reference)
    cost.sum().backward()
    assert student.grad.dtype == dtype
    assert student.grad.abs().sum() > 0


def test_cost_is_the_norm_of_differences(rng):
    student = torch.from_numpy(rng.normal(size=(7, 3)))
    teacher = torch.from_numpy(rng.normal(size=(7, 4)))
    cost = neuron_cost(student, teacher)
    for i in range(3):
        for j in range(4):
            expected = (student[:, i] - teacher[:, j]).square().sum().sqrt()
            torch.testing.assert_close(cost[i, j], expected)


def test_normalized_cost_does_not_depend_on_the_batch_size():
    student, teacher = torch.randn(5, 3), torch.randn(5, 4)
    once = neuron_cost(student, teacher, normalize=True)
    thrice = neuron_cost(student.repeat(3, 1), teacher.repeat(3, 1), normalize=True)
    torch.testing.assert_close(once, thrice)


def test_close_neurons_far_from_the_origin_keep_their_distance():
    # |x|^2 - 2xy + |y|^2 would lose a distance of 1e-2 at 1e4 in float32 altogether.
    teacher = torch.full((4, 1), 1e4)
    student = teacher + 2.0**-7
    assert neuron_cost(student, teacher).item() == 2 * 2.0**-7


def test_zero_distance_has_gradient_zero():
    student = torch.randn(6, 3, requires_grad=True)
    cost = neuron_cost(student, student.detach().clone())
    assert torch.equal(cost.diagonal(), torch.zeros(3))
    cost.diagonal().sum().backward()
    assert torch.equal(student.grad, torch.zeros(6, 3))


@pytest.mark.parametrize(
    ("features", "options", "error", "words"),
    [
        (torch.zeros(3), {}, ValueError, r"\(3,\)"),
        (torch.zeros(0, 3), {}, ValueError, "empty"),
        (torch.zeros(3, 2, dtype=torch.int64), {}, TypeError, "int64"),
        ([[1.0]], {}, TypeError, "list"),
        (torch.zeros(3, 2), {"channel_dim": 0}, ValueError, "channel_dim"),
        (torch.zeros(3, 2), {"channel_dim": 2}, ValueError, "channel_dim"),
        (torch.zeros(3, 2), {"spatial": "max"}, ValueError, "mean, flatten"),
    ],
)
def test_bad_features_are_refused(features, options, error, words):
    with pytest.raises(error, match=words):
        neurons(features, **options)


def test_unequal_batches_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(6, 3\)"):
        neuron_cost(torch.zeros(5, 3), torch.zeros(6, 3))
    # 4 x 3 positions equal 6 x 2, but are not the same examples.
    with pytest.raises(ValueError, match=r"\(4, 2, 3\) and \(6, 2, 2\)"):
        neuron_cost(torch.zeros(4, 2, 3), torch.zeros(6, 2, 2), spatial="flatten")
