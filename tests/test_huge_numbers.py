"""A number that no float64 holds is refused by the name of its argument."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

import kantorch
from kantorch.critics.clipping import clip_weights
from kantorch.regularizers import KnowledgeDistillation
from kantorch.w1.funnels import FunnelPair

HUGE = 10**400
COST = torch.rand(3, 4)


@pytest.mark.parametrize(
    "value", [HUGE, -HUGE, Fraction(HUGE, 3)], ids=["int", "minus", "fraction"]
)
@pytest.mark.parametrize(
    ("name", "options"),
    [("reg", {}), ("beta", {"method": "ipot"}), ("tol", {"reg": 1.0}), ("tol", {"method": "ipot"})],
)
def test_arguments_of_solve(name, options, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        kantorch.solve(COST, **options, **{name: value})
    with pytest.raises(ValueError, match=f"^{name} must be"):
        kantorch.solve_sample(COST, COST, **options, **{name: value})


@pytest.mark.parametrize("name", ["max_iter", "num_threads"])
def test_counts_of_solve(name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        kantorch.solve(COST, reg=1.0, **{name: HUGE})


def test_other_numbers():
    layer = torch.nn.Linear(2, 2)
    calls = {
        "alpha": lambda: KnowledgeDistillation(layer, layer, alpha=HUGE),
        "temperature": lambda: KnowledgeDistillation(layer, layer, temperature=HUGE),
        "bound": lambda: clip_weights(layer, HUGE),
        "power": lambda: FunnelPair(torch.zeros(1, 2), torch.zeros(1), power=HUGE),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=f"^{name} must be"):
            call()
