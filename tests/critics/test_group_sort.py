"""Sorted groups and orthogonal layers: what they keep, and how long gradients can be."""

from __future__ import annotations

import pytest
import torch

from kantorch.critics import GroupSortNet, bjorck, group_sort, orthogonal_linear, slopes

MAPS = ("bjorck", "cayley", "householder", "matrix_exp")


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4), (1, 5), (5, 1)])
@pytest.mark.parametrize("orthogonal_map", MAPS)
def test_layers_have_orthonormal_rows_or_columns(shape, orthogonal_map):
    outputs, inputs = shape
    weight = orthogonal_linear(inputs, outputs, orthogonal_map).double().weight
    small = weight @ weight.T if outputs <= inputs else weight.T @ weight
    torch.testing.assert_close(small, torch.eye(min(shape)).double(), atol=1e-5, rtol=0)


def test_bjorck_is_the_polar_factor():
    weight = torch.randn(3, 6, 4, dtype=torch.float64)
    u, _, v = torch.linalg.svd(weight, full_matrices=False)
    torch.testing.assert_close(bjorck(weight, 40), u @ v, atol=1e-9, rtol=0)


@pytest.mark.parametrize("steps", [0, 1, 3, 20])
def test_bjorck_never_expands(steps):
    for scale in (1e-20, 1.0, 1e20):
        weight = scale * torch.randn(50, 5, 7, dtype=torch.float64)
        assert torch.linalg.matrix_norm(bjorck(weight, steps), 2).max() <= 1 + 1e-12


def test_groups_are_sorted_apart():
    x = torch.randn(4, 12)
    for group in (1, 2, 3, 4, 6, 12):
        expected = torch.cat(
            [part.sort(dim=1, descending=True).values for part in x.split(group, dim=1)], dim=1
        )
        assert torch.equal(group_sort(x, group), expected)
    assert torch.equal(group_sort(x), group_sort(x, 12))


@pytest.mark.parametrize("group_size", [None, 2])
@pytest.mark.parametrize("orthogonal_map", MAPS)
def test_the_network_does_not_expand_distances(group_size, orthogonal_map):
    options = {"group_size": group_size, "orthogonal_map": orthogonal_map}
    critic = GroupSortNet(3, (8, 8), **options).double()
    x = torch.randn(500, 3, dtype=torch.float64)
    assert slopes(critic, x).max() <= 1 + 1e-5
    narrowing = GroupSortNet(8, (8, 6), **options).double()
    x = torch.randn(500, 8, dtype=torch.float64)
    torch.testing.assert_close(slopes(narrowing, x), torch.ones(500).double(), atol=1e-5, rtol=0)


def test_it_learns_the_cone_over_a_sphere():
    """A point at the centre of a unit sphere is at W1 = 1: only the norm reaches it (Anil et al.)."""
    critic = GroupSortNet(8, (32, 32))
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        sphere = torch.nn.functional.normalize(torch.randn(128, 8, generator=generator), dim=1)
        loss = critic(torch.zeros(1, 8)).mean() - critic(sphere).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert 0.8 < -loss.item() <= 1 + 1e-4


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: group_sort(torch.zeros(2, 4), 3), "group_size must divide the width 4, got 3"),
        (lambda: group_sort(torch.zeros(2, 4), 0), "group_size must divide the width 4, got 0"),
        (lambda: GroupSortNet(2, (4, 5), group_size=2), r"must divide hidden\[1\] = 5"),
        (lambda: GroupSortNet(0), "dimension must be an integer >= 1"),
        (lambda: GroupSortNet(2, (0,)), r"hidden\[0\] must be an integer >= 1"),
        (lambda: GroupSortNet(2)(torch.zeros(3, 4)), r"x must have shape \(.., 2\)"),
        (lambda: orthogonal_linear(2, 2, "qr"), "orthogonal_map must be"),
    ],
)
def test_faults_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("exponent", [-120, -80, 80, 120])
def test_bjorck_does_not_mind_the_size_of_the_weight(exponent, dtype):
    weight = torch.randn(3, 4, 5, dtype=dtype)
    scaled = (weight * 2.0**exponent).requires_grad_()
    found = bjorck(scaled)
    assert torch.equal(found, bjorck(weight))
    (gradient,) = torch.autograd.grad(found.sum(), scaled)
    assert gradient.isfinite().all()
