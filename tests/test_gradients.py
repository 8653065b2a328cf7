"""Derivatives against finite differences and against the plan and the potentials that they must equal."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import kantorch
import laws
import problems
from differences import central

# Solved so far that the answer is differentiable by differences: the plan of exact and IPOT is then a vertex.
TIGHT = {
    "exact": {},
    "sinkhorn": {"reg": 0.3, "tol": 1e-13},
    "ipot": {"beta": 0.05, "tol": 0.0, "max_iter": 20000},
}


def planted(seed=3, n=4, m=5):
    """A unique plan and unique duals, so that value is differentiable in everything."""
    return problems.planted_float(np.random.default_rng(seed), n, m)


def leaves(problem):
    theta = (problem.a / problem.mass).log(), (problem.b / problem.mass).log()
    return tuple(t.clone().requires_grad_() for t in (problem.cost, *theta))


def value(method, reg_type="kl"):
    options = dict(TIGHT[method], method=method)
    if method == "sinkhorn":
        options["reg_type"] = reg_type

    def function(cost, theta_a, theta_b):
        # Softmax keeps the mass, the only directions in which a derivative exists.
        return kantorch.solve(cost, theta_a.softmax(-1), theta_b.softmax(-1), **options).value

    return function


def sinkhorn_field(name, reg_type="kl", reg=0.3):
    def function(cost, theta_a, theta_b):
        a, b = theta_a.softmax(-1), theta_b.softmax(-1)
        return getattr(kantorch.solve(cost, a, b, reg=reg, reg_type=reg_type, tol=1e-14), name)

    return function


# gradcheck's differences carry the error of the solve over twice the step: 1e-13 / 1e-6, or for IPOT, whose
# potentials approach the duals like beta / t, that many units.
CHECK = {
    "exact": {"eps": 1e-6, "atol": 1e-7},
    "sinkhorn": {"eps": 1e-5, "atol": 1e-7},
    "ipot": {"eps": 1e-4, "atol": 1e-4},
}


def test_gradcheck_of_value(method):
    assert gradcheck(value(method), leaves(planted()), **CHECK[method])


def test_gradcheck_of_value_entropy():
    assert gradcheck(value("sinkhorn", "entropy"), leaves(planted()), **CHECK["sinkhorn"])


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 1)], ids=str)
def test_gradcheck_of_value_of_thin_problems(shape, method):
    assert gradcheck(value(method), leaves(planted(1, *shape)), **CHECK[method])


def test_gradcheck_of_value_of_a_batch():
    items = [planted(seed) for seed in range(3)]
    inputs = tuple(
        torch.stack(parts).detach().requires_grad_()
        for parts in zip(*map(leaves, items), strict=True)
    )
    for method in ("exact", "sinkhorn"):
        assert gradcheck(value(method), inputs, **CHECK[method])


@pytest.mark.parametrize("name", ["plan", "value_linear"])
@pytest.mark.parametrize("reg_type", ["kl", "entropy"])
def test_gradcheck_of_sinkhorn_fields(name, reg_type):
    assert gradcheck(sinkhorn_field(name, reg_type), leaves(planted()), eps=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["plan", "value_linear"])
def test_gradcheck_of_sinkhorn_fields_with_per_problem_strength(name):
    items = [planted(seed) for seed in range(2)]
    inputs = tuple(
        torch.stack(parts).detach().requires_grad_()
        for parts in zip(*map(leaves, items), strict=True)
    )
    reg = torch.tensor([0.2, 1.5], dtype=torch.float64)
    assert gradcheck(sinkhorn_field(name, reg=reg), inputs, eps=1e-5, atol=1e-6)


@pytest.mark.parametrize("reg_type", ["kl", "entropy"])
def test_gradgradcheck_of_sinkhorn_value(reg_type):
    inputs = leaves(planted(5, 3, 4))
    assert gradgradcheck(sinkhorn_field("value", reg_type), inputs, eps=1e-5, atol=1e-6)


def test_hessian_of_sinkhorn_value_is_symmetric_and_concave():
    problem = planted()
    hessian = torch.autograd.functional.hessian(
        lambda cost: kantorch.solve(cost, problem.a, problem.b, reg=0.3, tol=1e-13).value,
        problem.cost,
    ).reshape(20, 20)
    torch.testing.assert_close(hessian, hessian.T, rtol=1e-6, atol=1e-9)
    # The value is a minimum of functions linear in the cost.
    assert float(torch.linalg.eigvalsh((hessian + hessian.T) / 2).max()) < 1e-8


def test_gradient_of_value_is_the_plan(method, dtype, rng):
    problem = problems.planted_tree(rng, 6, 8).to(dtype)
    cost = problem.cost.clone().requires_grad_()
    options = {"max_iter": 200, "tol": 0.0} if method == "ipot" else {}
    result = laws.solve(method, cost, problem.a, problem.b, **options)
    (gradient,) = torch.autograd.grad(result.value, cost)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, result.plan.detach(), rtol=laws.ROUNDING[dtype], atol=1e-9)


@pytest.mark.parametrize("reg_type", ["kl", "entropy"])
def test_gradient_of_value_in_the_weights_is_the_centred_potential(method, reg_type, rng):
    if reg_type == "entropy" and method != "sinkhorn":
        pytest.skip("only Sinkhorn has an entropy form")
    problem = problems.planted_float(rng, 6, 8)
    a, b = problem.a.clone().requires_grad_(), problem.b.clone().requires_grad_()
    options = {"max_iter": 200, "tol": 0.0} if method == "ipot" else {}
    if method == "sinkhorn":
        options["reg_type"] = reg_type
    result = laws.solve(method, problem.cost, a, b, **options)
    gradients = torch.autograd.grad(result.value, (a, b))
    for gradient, potential, weight in zip(gradients, result.potentials, (a, b), strict=True):
        want = potential.detach()
        if reg_type == "entropy":
            want = want + 0.1 * weight.detach().log()
        torch.testing.assert_close(gradient, want - want.mean(), rtol=0, atol=1e-12)
        assert abs(float(gradient.sum())) < 1e-12


def test_upstream_factors_scale_every_gradient(method, rng):
    items = [problems.planted_float(rng, 4, 5) for _ in range(3)]
    inputs = [
        torch.stack([getattr(p, k) for p in items]).requires_grad_() for k in ("cost", "a", "b")
    ]
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    factors = torch.tensor([2.0, -3.0, 0.0], dtype=torch.float64)
    result = laws.solve(method, *inputs, **options)
    plain = torch.autograd.grad(result.value.sum(), inputs, retain_graph=True)
    scaled = torch.autograd.grad((factors * result.value).sum(), inputs)
    for one, other in zip(plain, scaled, strict=True):
        want = one * factors.view(-1, *[1] * (one.ndim - 1))
        torch.testing.assert_close(other, want, rtol=1e-12, atol=1e-14)


def test_backward_twice_with_a_kept_graph_gives_the_same(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5))).requires_grad_()
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    result = laws.solve(method, cost, **options)
    (first,) = torch.autograd.grad(result.value, cost, retain_graph=True)
    (second,) = torch.autograd.grad(result.value, cost)
    assert torch.equal(first, second)


def test_shared_cost_collects_the_gradients_of_the_batch(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5))).requires_grad_()
    a = torch.from_numpy(rng.dirichlet(np.ones(4), size=3))
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    (shared,) = torch.autograd.grad(laws.solve(method, cost, a, **options).value.sum(), cost)
    alone = [
        torch.autograd.grad(laws.solve(method, cost, a[i], **options).value, cost)[0]
        for i in range(3)
    ]
    assert shared.shape == (4, 5)
    torch.testing.assert_close(shared, torch.stack(alone).sum(0), rtol=1e-12, atol=1e-15)


def test_shared_weights_collect_the_gradients_of_the_batch(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(3, 4, 5)))
    a = torch.full((4,), 0.25, dtype=torch.float64, requires_grad=True)
    b = torch.full((5,), 0.2, dtype=torch.float64, requires_grad=True)
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    shared = torch.autograd.grad(laws.solve(method, cost, a, b, **options).value.sum(), (a, b))
    alone = [
        torch.autograd.grad(laws.solve(method, cost[i], a, b, **options).value, (a, b))
        for i in range(3)
    ]
    for k in range(2):
        assert shared[k].ndim == 1
        total = sum(parts[k] for parts in alone)
        torch.testing.assert_close(shared[k], total, rtol=1e-12, atol=1e-14)


def test_plan_gradient_of_a_shared_cost_collects_the_batch(rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5))).requires_grad_()
    a = torch.from_numpy(rng.dirichlet(np.ones(4), size=3))
    weight = torch.from_numpy(rng.normal(size=(3, 4, 5)))
    plan = kantorch.solve(cost, a, reg=0.2, tol=1e-13).plan
    (shared,) = torch.autograd.grad((weight * plan).sum(), cost)
    alone = [
        torch.autograd.grad(
            (weight[i] * kantorch.solve(cost, a[i], reg=0.2, tol=1e-13).plan).sum(), cost
        )[0]
        for i in range(3)
    ]
    torch.testing.assert_close(shared, torch.stack(alone).sum(0), rtol=1e-9, atol=1e-12)


def zero_mass_problem(rng, dtype=torch.float64):
    cost = torch.from_numpy(rng.uniform(size=(5, 6)))
    a, b = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(6))
    a[[0, 3]] = b[2] = 0
    a, b = (torch.from_numpy(w / w.sum()) for w in (a, b))
    return tuple(t.to(dtype).requires_grad_() for t in (cost, a, b))


@pytest.mark.parametrize("reg_type", ["kl", "entropy"])
def test_gradients_are_finite_at_zero_mass(method, reg_type, dtype, rng):
    inputs = zero_mass_problem(rng, dtype)
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    if method == "sinkhorn":
        options["reg_type"] = reg_type
    result = laws.solve(method, *inputs, **options)
    gradients = torch.autograd.grad(result.value, inputs)
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    assert bool((gradients[0][0] == 0).all()), "a point without mass moves no cost"
    if reg_type == "kl":
        for gradient, potential in zip(gradients[1:], result.potentials, strict=True):
            # Points without mass have finite potentials and count in the mean.
            want = potential.detach() - potential.detach().mean()
            torch.testing.assert_close(gradient, want, rtol=0, atol=laws.ROUNDING[dtype])
    elif method == "sinkhorn":
        for gradient, weight, potential in zip(
            gradients[1:], inputs[1:], result.potentials, strict=True
        ):
            alive = weight.detach() > 0
            # The derivative is -inf there: such a point gets 0 and stays out of the mean.
            assert bool((gradient[~alive] == 0).all())
            want = (potential.detach() + 0.1 * weight.detach().log())[alive]
            atol = 10 * laws.ROUNDING[dtype]
            torch.testing.assert_close(gradient[alive], want - want.mean(), rtol=0, atol=atol)


@pytest.mark.parametrize("name", ["plan", "value_linear"])
@pytest.mark.parametrize("reg_type", ["kl", "entropy"])
def test_sinkhorn_field_gradients_are_finite_at_zero_mass(name, reg_type, rng):
    inputs = zero_mass_problem(rng)
    result = kantorch.solve(*inputs, reg=0.2, reg_type=reg_type)
    field = getattr(result, name)
    gradients = torch.autograd.grad((field * torch.rand_like(field)).sum(), inputs)
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


@pytest.mark.parametrize("name", ["plan", "value_linear"])
def test_gradcheck_of_sinkhorn_fields_in_the_cost_at_zero_mass(name, rng):
    cost, a, b = zero_mass_problem(rng)

    def field(c):
        return getattr(kantorch.solve(c, a.detach(), b.detach(), reg=0.2, tol=1e-14), name)

    assert gradcheck(field, (cost,), eps=1e-5, atol=1e-6)


@pytest.mark.parametrize("dead", [False, True])
def test_second_derivatives_of_the_plan_are_right(dead, rng):
    cost, a, b = zero_mass_problem(rng)
    weights = (a.detach(), b.detach()) if dead else (None, None)
    solve = kantorch.solve
    assert gradgradcheck(
        lambda c: solve(c, *weights, reg=0.5, tol=1e-14).plan[:3, :3].sum(-1), (cost,), atol=1e-5
    )


def test_gradgradcheck_of_sinkhorn_value_in_the_cost_at_zero_mass(rng):
    cost, a, b = zero_mass_problem(rng)
    a, b = a.detach(), b.detach()
    solve = kantorch.solve
    assert gradgradcheck(lambda c: solve(c, a, b, reg=0.2, tol=1e-14).value, (cost,), atol=1e-6)


def test_plan_gradient_in_the_weights_at_zero_mass_is_the_one_sided_derivative(rng):
    cost, a, b = (t.detach() for t in zero_mass_problem(rng))
    weight = torch.from_numpy(rng.normal(size=(5, 6)))

    def loss(weights):
        return (weight * kantorch.solve(cost, weights, b, reg=0.2, tol=1e-14).plan).sum()

    leaf = a.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    dead, alive = int((a == 0).nonzero()[0]), int(a.argmax())
    step = torch.zeros_like(a)
    step[dead], step[alive] = 1e-6, -1e-6
    slope = float(loss(a + step) - loss(a)) / 1e-6
    # One-sided, so the error is of first order in the step.
    assert float(gradient[dead] - gradient[alive]) == pytest.approx(slope, abs=1e-4)


def test_plan_gradient_of_a_padded_problem_is_the_unpadded_one(rng):
    problem = planted()
    weight = torch.from_numpy(rng.normal(size=(4, 5)))
    cost = torch.zeros(6, 8, dtype=torch.float64)
    cost[:4, :5] = problem.cost
    a, b = torch.zeros(6, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    a[:4], b[:5] = problem.a, problem.b
    gradients = []
    for inputs in ((cost, a, b), (problem.cost, problem.a, problem.b)):
        leaves = [t.clone().requires_grad_() for t in inputs]
        plan = kantorch.solve(*leaves, reg=0.3, tol=1e-14).plan
        gradients.append(torch.autograd.grad((plan[:4, :5] * weight).sum(), leaves))
    (of_cost, of_a, of_b), (want_cost, want_a, want_b) = gradients
    torch.testing.assert_close(of_cost[:4, :5], want_cost, rtol=1e-7, atol=1e-9)
    # Weights have no derivative but along directions that keep the mass.
    for got, want in ((of_a[:4], want_a), (of_b[:5], want_b)):
        torch.testing.assert_close(got - got.mean(), want - want.mean(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("height", [0.0, 10.0, 1e3, 1e6])
@pytest.mark.parametrize("vmapped", [False, True])
def test_padding_of_any_cost_leaves_derivatives_finite_and_those_of_the_rest_alone(
    height, vmapped, dtype, rng
):
    """Between two points without mass the plan's exponential overflows, which no derivative may feel."""
    problem = planted()
    n, m = problem.cost.shape
    weight = torch.from_numpy(rng.normal(size=(n, m))).to(dtype)
    along = [torch.from_numpy(rng.normal(size=k)).to(dtype) for k in (n, m)]
    padded = torch.nn.functional.pad(problem.cost, (0, 2, 0, 3), value=height)
    weights = [torch.nn.functional.pad(x, (0, k)) for x, k in ((problem.a, 3), (problem.b, 2))]

    def of_fields(cost, a, b):
        result = kantorch.solve(cost, a, b, reg=0.3, tol=1e-6)
        return result.value_linear + (result.plan[:n, :m] * weight).sum()

    def of_slope(cost, a, b):
        value = lambda cost, a, b: kantorch.solve(cost, a, b, reg=0.3, tol=1e-6).value
        of_cost, *of_weights = torch.func.grad(value, (0, 1, 2))(cost, a, b)
        first = sum(
            (g[:k] * (v - v.mean())).sum()
            for g, k, v in zip(of_weights, (n, m), along, strict=True)
        )
        return first + (of_cost[:n, :m] * weight).sum()

    for function in (of_fields, of_slope):
        slope = torch.func.grad(function, (0, 1, 2))
        if vmapped:
            slope = torch.vmap(slope)
        found = []
        for inputs in ((padded, *weights), (problem.cost, problem.a, problem.b)):
            found.append(
                [g.squeeze(0) for g in slope(*(t.to(dtype)[None] for t in inputs))]
                if vmapped
                else slope(*(t.to(dtype) for t in inputs))
            )
        (of_cost, of_a, of_b), (want_cost, want_a, want_b) = found
        assert all(bool(torch.isfinite(x).all()) for x in found[0])
        # A mean over the padding too is rounded in its unit.
        rounding = 8 * torch.finfo(dtype).eps * height
        close = {"rtol": 1e-3, "atol": 2e-4 + rounding}
        torch.testing.assert_close(of_cost[:n, :m], want_cost, **close)
        for got, want in ((of_a[:n], want_a), (of_b[:m], want_b)):
            torch.testing.assert_close(got - got.mean(), want - want.mean(), **close)


def test_potentials_at_zero_mass_are_settled_where_little_mass_hides_that_they_are_not(dtype):
    """Columns of less mass than tol count for the rows without mass alone."""
    cost = torch.tensor([[0.34, 0.45, 0.70], [0.82, 0.17, 0.06], [0.83, 0.97, 0.52]], dtype=dtype)
    tiny = 1e-6 if dtype == torch.float32 else 1e-9
    a = torch.tensor([1.0, 0, 0], dtype=dtype, requires_grad=True)
    b = torch.tensor([1 - 2 * tiny, tiny, tiny], dtype=dtype, requires_grad=True)
    settled = kantorch.solve(cost, a, b, reg=0.02, tol=0.0, max_iter=60)
    for swapped in (False, True):
        result = kantorch.solve(*((cost.T, b, a) if swapped else (cost, a, b)), reg=0.02)
        assert bool(result.converged)
        (found,) = torch.autograd.grad(result.value, a)
        (wanted,) = torch.autograd.grad(settled.value, a, retain_graph=True)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_weight_gradient_at_zero_mass_is_the_one_sided_derivative(rng):
    problem = problems.planted_float(rng, 5, 5)
    cost = problem.cost
    a = torch.tensor([0.0, 0.4, 0.1, 0.2, 0.3], dtype=torch.float64)
    b = problem.b
    for options in ({}, {"reg": 0.3, "tol": 1e-13}):
        leaf = a.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(kantorch.solve(cost, leaf, b, **options).value, leaf)
        step = torch.zeros(5, dtype=torch.float64)
        step[0], step[1] = 1e-6, -1e-6
        with torch.no_grad():
            change = (
                kantorch.solve(cost, a + step, b, **options).value
                - kantorch.solve(cost, a, b, **options).value
            )
        # The exact value is convex in the weights, and its dual at a dead point may be any subgradient.
        slope = float(change) / 1e-6
        got = float(gradient[0] - gradient[1])
        assert got <= slope + 1e-4 if not options else abs(got - slope) < 1e-4


def test_zero_mass_everywhere_gives_zero_value_and_finite_gradients(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(3, 4))).requires_grad_()
    a, b = torch.zeros(3).double().requires_grad_(), torch.zeros(4).double().requires_grad_()
    result = laws.solve(method, cost, a, b)
    assert result.value.item() == 0
    assert bool((result.plan == 0).all())
    gradients = torch.autograd.grad(result.value, (cost, a, b))
    assert bool((gradients[0] == 0).all())
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_strength_that_requires_a_gradient_is_refused(rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5)))
    reg = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match=r"reg"):
        kantorch.solve(cost, reg=reg)


@pytest.mark.parametrize(
    "name",
    [
        "lower_bound",
        "gap",
        "marginal_error",
        "potential_a",
        "potential_b",
        "marginal_a",
        "marginal_b",
    ],
)
def test_other_fields_are_detached(name, method, rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5))).requires_grad_()
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    result = laws.solve(method, cost, **options)
    assert result.value.requires_grad
    assert not getattr(result, name).requires_grad


@pytest.mark.parametrize("method", ["exact", "ipot"])
def test_plan_of_exact_and_ipot_is_detached(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5))).requires_grad_()
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    assert not laws.solve(method, cost, **options).plan.requires_grad


def test_no_gradient_is_recorded_without_need(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5)))
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    assert not laws.solve(method, cost, **options).value.requires_grad
    leaf = cost.clone().requires_grad_()
    with torch.no_grad():
        assert not laws.solve(method, leaf, **options).value.requires_grad
    with torch.inference_mode():
        laws.solve(method, cost, **options)
    assert laws.solve(method, leaf, **options).value.requires_grad


def test_gradient_of_one_weight_alone(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5)))
    a = torch.full((4,), 0.25, dtype=torch.float64, requires_grad=True)
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    result = laws.solve(method, cost, a, **options)
    (gradient,) = torch.autograd.grad(result.value, a)
    want = result.potential_a.detach()
    torch.testing.assert_close(gradient, want - want.mean(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_leaf_gets_a_gradient_in_its_own_dtype(half, method, rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5))).to(half).requires_grad_()
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    result = laws.solve(method, cost, **options)
    assert result.value.dtype == torch.float32
    (gradient,) = torch.autograd.grad(result.value, cost)
    assert gradient.dtype == half
    torch.testing.assert_close(gradient, result.plan.detach().to(half))


def test_autocast_changes_no_gradient(rng):
    cost = torch.from_numpy(rng.uniform(size=(16, 16))).float().requires_grad_()
    weight = torch.from_numpy(rng.normal(size=(16, 16))).float()

    def gradient():
        plan = kantorch.solve(cost, reg=0.1).plan
        return torch.autograd.grad((plan * weight).sum(), cost)[0]

    plain = gradient()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = gradient()
    # A formula that multiplied matrices in bfloat16 would be off in the second digit.
    torch.testing.assert_close(inside, plain, rtol=1e-5, atol=1e-9)


def test_backward_after_the_cost_changed_in_place_raises(method, rng):
    leaf = torch.from_numpy(rng.uniform(size=(4, 5))).requires_grad_()
    cost = leaf * 1.0
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    result = laws.solve(method, cost, **options)
    with torch.no_grad():
        cost.mul_(3.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(result.value, leaf)


@pytest.mark.parametrize("method", ["sinkhorn", "ipot"])
def test_plan_read_after_the_cost_changed_in_place_raises(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5)))
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    result = laws.solve(method, cost, **options)
    cost.mul_(3.0)
    with pytest.raises(RuntimeError, match="cost was changed in place"):
        _ = result.plan


def test_a_result_of_inference_mode_keeps_what_it_was_solved_from(method, rng):
    """Torch does not count the changes of tensors that were made there."""
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    names = ("plan", "lower_bound", "value_linear", "potential_a", "gap")
    with torch.inference_mode():
        cost = torch.from_numpy(rng.uniform(size=(4, 5))).clone()
        want = laws.solve(method, cost.clone(), **options)
        result = laws.solve(method, cost, **options)
        cost.mul_(3.0)
        for name in names:
            assert torch.equal(getattr(result, name), getattr(want, name)), name


@pytest.mark.parametrize("inference", [False, True])
def test_a_change_after_vmap_is_noticed_or_cannot_matter(inference, method, rng):
    options = {"max_iter": 100, "tol": 0.0} if method == "ipot" else {}
    with torch.inference_mode(inference):
        cost = torch.from_numpy(rng.uniform(size=(3, 4, 5))).clone()
        result = torch.vmap(lambda c: laws.solve(method, c, **options))(cost)
        want = result.lower_bound
        cost.mul_(3.0)
        if (
            inference or method == "ipot"
        ):  # which keeps a cost of its own, without its constant part
            assert torch.equal(result.lower_bound, want)
        else:
            with pytest.raises(RuntimeError, match="cost was changed in place"):
                _ = result.lower_bound


def test_exact_plan_read_after_the_cost_changed_in_place_is_that_of_the_solve(rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5)))
    want = kantorch.solve(cost).plan
    result = kantorch.solve(cost)
    cost.mul_(3.0)
    assert torch.equal(result.plan, want)


def test_envelope_gradient_survives_a_loose_tolerance():
    problem = planted()
    cost = problem.cost.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        result = kantorch.solve(cost, problem.a, problem.b, reg=0.3, tol=1e-3)
    (gradient,) = torch.autograd.grad(result.value, cost)
    want = central(
        lambda c: kantorch.solve(c, problem.a, problem.b, reg=0.3, tol=1e-13).value, problem.cost
    )
    assert float((gradient - want).abs().sum()) < 1e-2


def own_strengths(rng, batch=3):
    """Problems whose masses and strengths all differ."""
    x, y = (torch.from_numpy(rng.normal(size=(batch, n, 2))) for n in (5, 6))
    a, b = (torch.from_numpy(rng.dirichlet(np.ones(n), batch)) for n in (5, 6))
    mass = torch.tensor([0.2, 1.0, 7.0], dtype=torch.float64)[:, None]
    return x, y, a * mass, b * mass, torch.tensor([0.1, 0.7, 2.5], dtype=torch.float64)


@pytest.mark.parametrize("name", ["value", "value_linear", "plan"])
@pytest.mark.parametrize("points", [True, False])
def test_every_problem_is_differentiated_at_its_own_strength_and_mass(points, name, rng):
    *tensors, reg = own_strengths(rng)
    weight = torch.from_numpy(rng.normal(size=(3, 5, 6)))

    def gradients(x, y, a, b, reg, weight):
        leaves = [t.clone().requires_grad_() for t in (x, y, a, b)]
        x, y, *masses = leaves
        if points:
            result = kantorch.solve_sample(x, y, *masses, reg=reg, tol=1e-13)
        else:
            result = kantorch.solve(kantorch.costs.cost_matrix(x, y), *masses, reg=reg, tol=1e-13)
        field = getattr(result, name)
        scalar = (field * weight).sum() if name == "plan" else (field * weight[..., 0, 0]).sum()
        return torch.autograd.grad(scalar, leaves)

    together = gradients(*tensors, reg, weight)
    for k in range(3):
        alone = gradients(*(t[k] for t in tensors), float(reg[k]), weight[k])
        for one, many in zip(alone, together, strict=True):
            torch.testing.assert_close(many[k], one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["value_linear", "plan"])
def test_implicit_gradients_at_any_mass(name, rng):
    x, y, a, b, _ = own_strengths(rng)
    assert gradcheck(
        lambda cost: getattr(kantorch.solve(cost, a[2], b[2], reg=0.7, tol=1e-13), name),
        kantorch.costs.cost_matrix(x[2], y[2]).requires_grad_(),
        eps=1e-5,
        atol=1e-6,
    )
