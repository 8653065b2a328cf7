"""Euclidean distances have all their digits wherever they are numbers themselves, though their squares are not."""

from __future__ import annotations

import pytest
import torch

import kantorch
from kantorch.costs import cost_matrix

# The last is computed by inner products.
SHAPES = [(5, 6, 1), (9, 20, 3), (70, 80, 5), (150, 140, 64)]
POWERS = {torch.float32: (-115, -70, -52, 60, 66, 120), torch.float64: (-980, -500, 505, 520, 1015)}


def clouds(n: int, m: int, d: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n + d)
    x, y = (torch.rand(k, d, generator=generator, dtype=dtype) for k in (n, m))
    y[:3] = x[:3]  # distance 0
    return x, y


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_power_of_two_changes_no_digit(shape, dtype):
    x, y = clouds(*shape, dtype)
    want = cost_matrix(x, y, metric="euclidean")
    for power in POWERS[dtype]:
        got = cost_matrix(x * 2.0**power, y * 2.0**power, metric="euclidean")
        torch.testing.assert_close(
            got * 2.0**-power, want, rtol=8 * torch.finfo(dtype).eps, atol=0.0
        )


def test_sizes_may_differ_within_a_row(dtype):
    least, largest = torch.finfo(dtype).tiny * 16, torch.finfo(dtype).max / 4
    x = torch.tensor([[0.0, 0.0]], dtype=dtype)
    ends = [[3.0, 4.0], [3 * least, 4 * least], [0.0, 0.0], [0.6 * largest, 0.8 * largest]]
    y = torch.tensor(ends, dtype=dtype)
    got = cost_matrix(x, y, metric="euclidean")
    want = torch.tensor([[5.0, 5 * least, 0.0, largest]], dtype=dtype)
    torch.testing.assert_close(got, want, rtol=4 * torch.finfo(dtype).eps, atol=0.0)


@pytest.mark.parametrize("options", [{}, {"reg": 0.1}, {"method": "ipot"}], ids=str)
def test_a_power_of_two_scales_values_and_leaves_gradients(options, dtype):
    x, y = clouds(9, 20, 3, dtype)
    want, gradient = None, None
    for power in (0, *POWERS[dtype]):
        unit = 2.0**power
        scaled = {key: v * unit if key == "reg" else v for key, v in options.items()}
        leaf = (x * unit).requires_grad_()
        result = kantorch.solve_sample(leaf, y * unit, metric="euclidean", **scaled).check()
        found = torch.autograd.grad(result.value, leaf)[0]
        if want is None:
            want, gradient = result.value.detach(), found
        tight = 1e-4 if dtype == torch.float32 else 1e-7
        torch.testing.assert_close(result.value.detach() / unit, want, rtol=tight, atol=0.0)
        torch.testing.assert_close(found, gradient, rtol=tight, atol=tight)


def test_a_distance_that_overflows_is_named():
    y = torch.tensor([[1.0], [-3e38]])
    with pytest.raises(ValueError, match=r"cost must be finite: cost\[0, 1\] = inf"):
        kantorch.solve_sample(torch.tensor([[3e38]]), y, metric="euclidean", reg=1.0)
