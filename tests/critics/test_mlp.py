"""Critics take points (.., D), one point or none among them."""

from __future__ import annotations

import pytest
import torch

from kantorch.critics import GroupSortNet, MinMaxTree, mlp

CRITICS = {
    "relu": lambda: mlp(3, (8,)),
    "spectral": lambda: mlp(3, (8,), spectral_steps=1),
    "group sort": lambda: GroupSortNet(3, (8,)),
    "tree": lambda: MinMaxTree(3, 16),
}


@pytest.mark.parametrize("make", CRITICS.values(), ids=CRITICS)
def test_values_are_those_of_each_point_alone(make):
    critic = make().double().eval()
    points = torch.randn(2, 5, 3, dtype=torch.float64)
    values = critic(points)
    assert values.shape == (2, 5)
    assert critic(points[:, :0]).shape == (2, 0)
    alone = torch.stack([critic(point) for point in points.flatten(0, 1)])
    torch.testing.assert_close(alone.reshape(2, 5), values)
    torch.testing.assert_close(torch.vmap(critic)(points.flatten(0, 1)).reshape(2, 5), values)
