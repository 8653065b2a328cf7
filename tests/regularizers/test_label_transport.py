"""Transport between two heads: its gradients, its limits; and costs between classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog

from kantorch import solve
from kantorch.costs import cost_matrix
from kantorch.regularizers import LabelTransport, label_cost
from kantorch.regularizers.label_cost import _WIDTHS, _combination


def heads(n=6, source=5, target=3):
    generator = torch.Generator().manual_seed(1)
    return tuple(
        (2 * torch.randn(n, k, generator=generator, dtype=torch.float64)).requires_grad_()
        for k in (source, target)
    )


COST = torch.rand(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TIGHT = {"tol": 1e-12, "max_iter": 100_000}


@pytest.mark.parametrize("value", ["regularized", "sharp"])
@pytest.mark.parametrize("reg", [0.05, 0.5])
def test_gradients_at_the_logits_are_those_of_finite_differences(value, reg):
    penalty = LabelTransport(COST, reg=reg, value=value, alpha=0.7, **TIGHT)
    assert torch.autograd.gradcheck(penalty, heads(), atol=1e-6)


def test_the_gradient_in_the_probabilities_is_that_of_the_entropic_value_not_of_the_sharp_one():
    """Eq. 11 gives potentials; they belong to <P, C> - reg H(P)."""
    lam = 5.0
    penalty = LabelTransport(COST, reg=1 / lam, **TIGHT)
    source, target = heads(1)
    result = penalty.solve(source, target)
    a, b = (torch.softmax(x.detach(), 1) for x in (source, target))
    alpha = result.potentials[0][0].detach() + a[0].log() / lam  # log u / lambda
    direction = torch.tensor([[1.0, -2, 0.5, 1.5, -1]], dtype=torch.float64)  # keeps the mass

    def slope(which):
        step = 1e-5
        sides = []
        for sign in (1, -1):
            moved = solve(
                COST, a + sign * step * direction, b, reg=1 / lam, reg_type="entropy", **TIGHT
            )
            sides.append(getattr(moved, which).item())
        return (sides[0] - sides[1]) / (2 * step)

    along = (alpha * direction[0]).sum().item()
    assert slope("value") == pytest.approx(along, rel=1e-5)
    assert abs(slope("value_linear") - along) > 1e-2


def test_centring_the_potentials_changes_nothing_at_the_logits():
    source, target = heads()
    penalty = LabelTransport(COST, reg=0.2, **TIGHT)
    penalty(source, target).backward()
    result = penalty.solve(source, target)
    for logits, potentials in zip((source, target), result.potentials, strict=True):
        p = torch.softmax(logits.detach(), 1)
        scaling = potentials.detach() + 0.2 * p.log()
        centred = scaling - scaling.mean(1, keepdim=True)
        expected = p * (centred - (p * centred).sum(1, keepdim=True)) / len(p)
        torch.testing.assert_close(logits.grad, expected, rtol=1e-8, atol=1e-10)


def test_a_constant_cost_is_its_own_transport():
    penalty = LabelTransport(torch.full((5, 3), 1.7, dtype=torch.float64), value="sharp")
    assert penalty(*heads()).item() == pytest.approx(1.7)


def test_two_by_two_has_a_closed_form():
    """Costs 0 on the diagonal and 1 beside it: at small reg, the moved mass |a - b|."""
    cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    a, b = torch.tensor([[0.7, 0.3]]), torch.tensor([[0.2, 0.8]])
    penalty = LabelTransport(cost, reg=0.01, value="sharp", **TIGHT)
    assert penalty(a.double().log(), b.double().log()).item() == pytest.approx(0.5, rel=1e-4)


def test_small_strengths_tend_to_the_linear_programme():
    source, target = (x.detach() for x in heads(1))
    a, b = (torch.softmax(x, 1)[0].numpy() for x in (source, target))
    rows = np.kron(np.eye(5), np.ones(3))
    columns = np.kron(np.ones(5), np.eye(3))
    best = linprog(COST.flatten(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]))
    values = [
        LabelTransport(COST, reg=r, value="sharp", **TIGHT)(source, target).item()
        for r in (0.5, 0.05, 0.005)
    ]
    assert values[0] > values[1] > values[2] >= best.fun - 1e-9
    assert values[2] == pytest.approx(best.fun, rel=1e-2)


def test_a_head_that_is_certain_has_a_gradient():
    source = torch.tensor([[200.0, 0, 0, 0, -200]], requires_grad=True)  # zeros in float32
    target = torch.tensor([[0.0, 1, 2]], requires_grad=True)
    value = LabelTransport(COST.float())(source, target)
    value.backward()
    assert value.isfinite()
    assert source.grad.isfinite().all()
    assert target.grad.abs().sum() > 0


def test_half_precision_logits_are_solved_in_the_precision_of_the_cost():
    source, target = (x.detach().bfloat16().requires_grad_() for x in heads())
    value = LabelTransport(COST.float())(source, target)
    assert value.dtype == torch.float32
    value.backward()
    assert source.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("value", ["regularized", "sharp"])
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_solved_in_float32(half, value):
    """Logits, cost or both; probabilities of half precision would not add up to 1."""
    source, target = (x.detach().to(half).requires_grad_() for x in heads(n=40))
    cost = COST.to(half)
    expected = LabelTransport(cost.float(), value=value)(source.float(), target.float())
    wanted = torch.autograd.grad(expected, (source, target))
    for kind in (half, torch.float32):
        penalty = LabelTransport(cost.to(kind), value=value)
        found = penalty(source, target)
        assert torch.equal(found, expected)
        for mine, theirs in zip(torch.autograd.grad(found, (source, target)), wanted, strict=True):
            assert torch.equal(mine, theirs)
    moved = LabelTransport(cost.float(), value=value).to(half)
    assert torch.equal(moved(source.detach(), target.detach()), expected)


def test_the_widest_of_both_heads_and_the_cost_is_computed_in():
    source, target = (x.detach() for x in heads())
    wide = LabelTransport(COST.float())(source.float(), target)
    assert wide.dtype == torch.float64


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named(value):
    source, target = (x.detach().clone() for x in heads())
    source[2, 4] = value
    penalty = LabelTransport(COST)
    with pytest.raises(ValueError, match=rf"source logits must be finite: \[2, 4\] is {value}"):
        penalty(source, target)
    source[2, 4], target[1, 0] = 0, value
    with pytest.raises(ValueError, match=rf"target logits must be finite: \[1, 0\] is {value}"):
        penalty.transport(source, target)
    cost = COST.clone()
    cost[3, 1] = value
    with pytest.raises(ValueError, match=rf"cost must be finite: \[3, 1\] is {value}"):
        LabelTransport(cost)


def test_the_mean_over_no_example_is_refused():
    penalty = LabelTransport(COST)
    with pytest.raises(ValueError, match=r"one example or more, got \(0, 5\) and \(0, 3\)"):
        penalty(torch.zeros(0, 5), torch.zeros(0, 3))
    assert penalty.transport(torch.zeros(0, 5), torch.zeros(0, 3)).shape == (0,)


def test_faults_of_the_penalty_are_named():
    with pytest.raises(ValueError, match=r"cost must have shape .* got \(5,\)"):
        LabelTransport(COST[:, 0])
    with pytest.raises(ValueError, match="reg must be finite and > 0, got 0"):
        LabelTransport(COST, reg=0)
    with pytest.raises(ValueError, match="max_iter must be at least 1"):
        LabelTransport(COST, max_iter=0)
    with pytest.raises(ValueError, match="tol must be finite and non-negative"):
        LabelTransport(COST, tol=-1.0)
    source, target = heads()
    with pytest.raises(ValueError, match=r"fit the cost \(5, 3\), got \(6, 3\) and \(6, 5\)"):
        LabelTransport(COST)(target, source)


def classes(counts, dims=4, seed=0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    centres = 3 * torch.randn(len(counts), dims, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), dims, generator=generator, dtype=torch.float64)
    return centres[labels] + noise + shift, labels


def test_transport_costs_are_assignments_of_the_examples():
    (x, of_x), (y, of_y) = classes([6, 6, 6]), classes([6, 6], seed=1)
    cost = label_cost(x, of_x, y, of_y, method="ot", normalize=None)
    for i in range(3):
        for j in range(2):
            pair = cost_matrix(x[of_x == i], y[of_y == j]).numpy()
            expected = pair[linear_sum_assignment(pair)].mean()
            assert cost[i, j].item() == pytest.approx(expected, rel=1e-9)


def test_classes_of_other_sizes_are_those_of_single_problems():
    (x, of_x), (y, of_y) = classes([9, 2, 5]), classes([4, 7], seed=1)
    for reg in (None, 0.8):
        cost = label_cost(x, of_x, y, of_y, method="ot", reg=reg, normalize=None)
        for i in range(3):
            for j in range(2):
                single = solve(cost_matrix(x[of_x == i], y[of_y == j]), reg=reg)
                expected = single.value if reg is None else single.value_linear
                torch.testing.assert_close(cost[i, j], expected, rtol=1e-6, atol=1e-9)


def all_pairs(x, y, width, weights):
    """The biased estimate of the squared distance of mean embeddings, over all pairs."""

    def mean(u, v):
        squared = cost_matrix(u, v) / width
        kernels = torch.stack([(-squared / f).exp().mean() for f in _WIDTHS])
        return (kernels * weights).sum()

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def test_the_linear_estimate_agrees_with_all_pairs():
    (x, of_x), (y, of_y) = classes([400, 400]), classes([400, 400], seed=1)
    from kantorch.regularizers.label_cost import _median_squared_distance, _quadruples

    width = _median_squared_distance(torch.cat([x, y]))
    weights = torch.full((len(_WIDTHS),), 1 / len(_WIDTHS), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    for i in range(2):
        for j in range(2):
            mine, theirs = x[of_x == i], y[of_y == j]
            draws = torch.stack(
                [_quadruples(mine, theirs, width, generator) @ weights for _ in range(20)]
            )
            whole = all_pairs(mine, theirs, width, weights)
            # The draws share their examples, so the spread over quadruples of one stands for it.
            error = draws.std() / math.sqrt(draws.shape[1])
            assert (draws.mean() - whole).abs() < 4 * error


def test_equal_classes_are_near_and_others_far():
    x, of_x = classes([300, 300, 300])
    y, of_y = classes([300, 300, 300])
    generator = torch.Generator().manual_seed(0)
    for kernels in ("shared", "pairwise"):
        cost = label_cost(
            x, of_x, y + 0.01, of_y, kernels=kernels, generator=generator, normalize="max"
        )
        assert cost.abs().max() == 1
        assert (cost.argmin(1) == torch.arange(3)).all()


def test_features_may_be_scaled_and_shifted():
    (x, of_x), (y, of_y) = classes([40, 50]), classes([60, 30], seed=1)
    costs = [
        label_cost(
            1e3 * u + 7,
            of_x,
            1e3 * v + 7,
            of_y,
            method=method,
            generator=torch.Generator().manual_seed(2),
        )
        for method in ("mkmmd", "ot")
        for u, v in ((x, y), (x / 1e3 - 0.007, y / 1e3 - 0.007))
    ]
    torch.testing.assert_close(costs[0], costs[1], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(costs[2], costs[3], rtol=1e-6, atol=1e-9)


def test_the_combination_of_kernels_is_the_best_on_a_grid():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        root = torch.randn(3, 3, generator=generator, dtype=torch.float64)
        q, d = root.T @ root, torch.randn(3, generator=generator, dtype=torch.float64)
        ridged = q + 1e-3 * q.diagonal().mean() * torch.eye(3, dtype=torch.float64)
        weights = _combination(d, q)
        assert weights.min() >= 0
        assert weights.sum().item() == pytest.approx(1)
        ticks = torch.linspace(0, 1, 61, dtype=torch.float64)
        grid = torch.cartesian_prod(ticks, ticks, ticks)[1:]
        found = grid @ d
        if not (d > 0).any():
            assert weights.argmax() == (d / ridged.diagonal()).argmax()
            continue
        grid, found = grid[found > 0], found[found > 0]
        ratios = ((grid @ ridged) * grid).sum(1) / found**2
        mine = weights @ ridged @ weights / (weights @ d) ** 2
        assert mine <= ratios.min() * (1 + 1e-9)
        assert mine >= ratios.min() * 0.9


def test_faults_of_the_costs_are_named():
    x, labels = classes([3, 3])
    with pytest.raises(ValueError, match="reg belongs to method 'ot', and method is 'mkmmd'"):
        label_cost(x, labels, x, labels, reg=0.1)
    with pytest.raises(
        ValueError, match="class of target must have two examples, got 0 of class 1"
    ):
        label_cost(x, labels, x, 2 * labels)
    bad = x.clone()
    bad[1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"source must be finite: \[1, 2\] is nan"):
        label_cost(bad, labels, x, labels)
    with pytest.raises(ValueError, match=r"same dimension, got shapes \(6, 4\) and \(6, 3\)"):
        label_cost(x, labels, x[:, :3], labels)
    with pytest.raises(ValueError, match="source_labels must be integers >= 0"):
        label_cost(x, labels.double(), x, labels)
