"""Every nesting of transforms around a solve: what a loop of plain autograd gives, or a refusal in words."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, vmap
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, linearize, vjp

import kantorch
import laws
from solvers import (
    DIFFERENTIABLE,
    OPTIONS,
    SOLVERS,
    Function,
    differentiable,
    draw,
    field,
    solver,
    weighted,
    weights,
)


def gradient(function: Function, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x), x)[0]


def jacobian(function: Function, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    out = function(x)
    rows = [torch.autograd.grad(o, x, retain_graph=True)[0] for o in out.reshape(-1)]
    return torch.stack(rows).reshape(*out.shape, *x.shape)


def second(function: Function, x: Tensor) -> Tensor:
    """The matrix of second derivatives, zeros where the gradient is constant."""
    x = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(function(x), x, create_graph=True)
    if not first.requires_grad:
        return torch.zeros(*x.shape, *x.shape, dtype=x.dtype)
    rows = [torch.autograd.grad(d, x, retain_graph=True)[0] for d in first.reshape(-1)]
    return torch.stack(rows).reshape(*x.shape, *x.shape)


def each(function: Function, batch: Tensor) -> Tensor:
    return torch.stack([function(x) for x in batch])


def pulled_back(f: Function, x: Tensor) -> Tensor:
    out, pull = vjp(f, x)
    return pull(weights(out.shape))[0]


def rows_at_once(f: Function, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    out = f(x)
    directions = torch.eye(out.numel(), dtype=x.dtype).reshape(-1, *out.shape)
    return torch.autograd.grad(out, x, directions, is_grads_batched=True)[0]


class Holder(torch.nn.Module):
    def __init__(self, loss: Function, x: Tensor) -> None:
        super().__init__()
        self.loss, self.x = loss, torch.nn.Parameter(x.clone())

    def forward(self) -> Tensor:
        return self.loss(self.x)


def of_a_module(loss: Function, x: Tensor) -> Function:
    module = Holder(loss, x)
    return lambda p: functional_call(module, {"x": p}, ())


# What is transformed: (field f, its weighted sum L, X (2, 3, ..)) -> the answer, and the loop that it must equal.
NESTINGS = {
    "vmap": (lambda f, L, X: vmap(f)(X[0]), lambda f, L, X: each(f, X[0])),
    "vmap(vmap)": (
        lambda f, L, X: vmap(vmap(f))(X),
        lambda f, L, X: each(lambda x: each(f, x), X),
    ),
    "grad": (lambda f, L, X: grad(L)(X[0, 0]), lambda f, L, X: gradient(L, X[0, 0])),
    "vjp": (lambda f, L, X: pulled_back(f, X[0, 0]), lambda f, L, X: gradient(L, X[0, 0])),
    "jacrev": (lambda f, L, X: jacrev(f)(X[0, 0]), lambda f, L, X: jacobian(f, X[0, 0])),
    "is_grads_batched": (
        lambda f, L, X: rows_at_once(f, X[0, 0]),
        lambda f, L, X: jacobian(f, X[0, 0]).reshape(-1, *X.shape[2:]),
    ),
    "functional_call": (
        lambda f, L, X: grad(of_a_module(L, X[0, 1]))(X[0, 0]),
        lambda f, L, X: gradient(L, X[0, 0]),
    ),
    "vmap(grad(functional_call))": (
        lambda f, L, X: vmap(grad(of_a_module(L, X[0, 1])))(X[0]),
        lambda f, L, X: each(lambda x: gradient(L, x), X[0]),
    ),
    "grad(vmap)": (
        lambda f, L, X: grad(lambda x: vmap(L)(x).sum())(X[0]),
        lambda f, L, X: each(lambda x: gradient(L, x), X[0]),
    ),
    "vmap(grad)": (
        lambda f, L, X: vmap(grad(L))(X[0]),
        lambda f, L, X: each(lambda x: gradient(L, x), X[0]),
    ),
    "vmap(vmap(grad))": (
        lambda f, L, X: vmap(vmap(grad(L)))(X),
        lambda f, L, X: each(lambda row: each(lambda x: gradient(L, x), row), X),
    ),
    "vmap(grad(vmap))": (
        lambda f, L, X: vmap(grad(lambda x: vmap(L)(x).sum()))(X),
        lambda f, L, X: each(lambda row: each(lambda x: gradient(L, x), row), X),
    ),
    "vmap(jacrev)": (
        lambda f, L, X: vmap(jacrev(f))(X[0]),
        lambda f, L, X: each(lambda x: jacobian(f, x), X[0]),
    ),
    "jacrev(vmap)": (
        lambda f, L, X: jacrev(vmap(L))(X[0]).diagonal().movedim(-1, 0),
        lambda f, L, X: each(lambda x: gradient(L, x), X[0]),
    ),
    "outside of vmap": (
        lambda f, L, X: gradient(lambda x: vmap(L)(x).sum(), X[0]),
        lambda f, L, X: each(lambda x: gradient(L, x), X[0]),
    ),
    "outside of vmap(vmap)": (
        lambda f, L, X: gradient(lambda x: vmap(vmap(L))(x).sum(), X),
        lambda f, L, X: each(lambda row: each(lambda x: gradient(L, x), row), X),
    ),
    "outside of vmap, of what it does not map": (
        lambda f, L, X: gradient(
            lambda x: vmap(lambda s: L(s * x))(X.new_tensor([1, 2])).sum(), X[0, 0]
        ),
        lambda f, L, X: gradient(lambda x: L(x) + L(2 * x), X[0, 0]),
    ),
}

# The same for twice differentiable functions.
SECOND = {
    "jacrev(jacrev)": (
        lambda L, X: jacrev(jacrev(L))(X[0]),
        lambda L, X: second(L, X[0]),
    ),
    "grad(grad)": (
        lambda L, X: grad(lambda x: (grad(L)(x) * X[1]).sum())(X[0]),
        lambda L, X: (second(L, X[0]) * X[1]).sum((-2, -1)),
    ),
    "vmap(jacrev(jacrev))": (
        lambda L, X: vmap(jacrev(jacrev(L)))(X),
        lambda L, X: each(lambda x: second(L, x), X),
    ),
    "grad(vmap(grad))": (
        lambda L, X: grad(lambda x: (vmap(grad(L))(x) * X[0]).sum())(X),
        lambda L, X: each(lambda x: (second(L, x) * X[0]).sum((-2, -1)), X),
    ),
    "outside of vmap(grad)": (
        lambda L, X: gradient(lambda x: (vmap(grad(L))(x) * X[0] + 0 * x).sum(), X),
        lambda L, X: each(lambda x: (second(L, x) * X[0]).sum((-2, -1)), X),
    ),
    "autograd over autograd of vmap": (
        lambda L, X: gradient(lambda x: (_attached(vmap(L), x) * X[0] + 0 * x).sum(), X),
        lambda L, X: each(lambda x: (second(L, x) * X[0]).sum((-2, -1)), X),
    ),
}


def _attached(function: Function, x: Tensor) -> Tensor:
    return torch.autograd.grad(function(x).sum(), x, create_graph=True)[0]


def assert_equal(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9 * float(want.abs().max()) + 1e-14)


@pytest.mark.parametrize(("name", "output"), DIFFERENTIABLE)
@pytest.mark.parametrize("nesting", NESTINGS)
def test_a_nesting_equals_the_loop(nesting: str, name: str, output: str) -> None:
    shape, f = field(name, output)
    transformed, loop = NESTINGS[nesting]
    X = draw(2, 3, *shape, seed=3)
    want = loop(f, weighted(f), X)
    assert float(want.abs().max()) > 0
    assert_equal(transformed(f, weighted(f), X), want)


@pytest.mark.parametrize(("name", "output"), DIFFERENTIABLE)
@pytest.mark.parametrize("nesting", SECOND)
def test_a_nesting_of_second_derivatives_equals_the_loop(
    nesting: str, name: str, output: str
) -> None:
    shape, f = field(name, output)
    transformed, loop = SECOND[nesting]
    X = draw(2, *shape, seed=4)
    # A square, so that no second derivative is zero everywhere.
    square = lambda x: weighted(f)(x) ** 2
    assert_equal(transformed(square, X), loop(square, X))
    assert_equal(transformed(weighted(f), X), loop(weighted(f), X))


@pytest.mark.parametrize("name", ["exact", "ipot"])
def test_second_derivatives_in_the_cost_of_an_unregularised_value_are_zero(name: str) -> None:
    """The optimal plan is piecewise constant in the cost."""
    shape, f = field(name, "value")
    cost = draw(*shape)
    assert not jacrev(jacrev(f))(cost).any()
    assert not torch.autograd.functional.hessian(f, cost).any()


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
@pytest.mark.parametrize("name", ["line", "exact points", "ipot points"])
def test_second_derivatives_in_the_points_of_an_unregularised_value_are_those_at_a_constant_plan(
    name: str, metric: str
) -> None:
    dims = 1 if name == "line" else 2
    x, y = draw(3, dims), draw(4, dims, seed=1)
    options = {} if name != "ipot points" else {"method": "ipot", "max_iter": 40, "tol": 0.0}

    def value(points: Tensor) -> Tensor:
        return kantorch.solve_sample(points, y, metric=metric, **options).value

    plan = kantorch.solve_sample(x, y, metric=metric, **options).plan
    fixed = second(lambda p: (plan * kantorch.costs.cost_matrix(p, y, metric=metric)).sum(), x)
    assert_equal(second(value, x), fixed)
    assert_equal(jacrev(jacrev(value))(x), fixed)
    if metric == "sqeuclidean":
        of_rows = torch.diag(plan.sum(-1))
        want = 2 * torch.einsum("ik,cd->ickd", of_rows, torch.eye(dims, dtype=x.dtype))
        assert_equal(second(value, x), want)


def test_third_derivatives_of_sinkhorn_in_the_cost_equal_differences() -> None:
    shape, f = field("sinkhorn", "value")
    cost, step = draw(*shape), draw(*shape, seed=5)
    twice = jacrev(jacrev(f))
    third = (jacrev(twice)(cost) * step).sum((-2, -1))
    change = (twice(cost + 1e-4 * step) - twice(cost - 1e-4 * step)) / 2e-4
    torch.testing.assert_close(third, change, rtol=1e-5, atol=1e-7)


def test_third_derivatives_of_sinkhorn_between_points_are_refused() -> None:
    shape, f = field("sinkhorn points", "value")
    x = draw(*shape).requires_grad_()
    first = torch.autograd.grad(f(x), x, create_graph=True)[0].square().sum()
    with pytest.raises(NotImplementedError, match="third derivatives of a solve between points"):
        torch.autograd.grad(first, x, create_graph=True)


@pytest.mark.parametrize("name", SOLVERS)
def test_detached_outputs(name: str) -> None:
    """Their derivative counts as zero in torch.func, and outside they have no graph."""
    shape, solve = solver(name)
    x = draw(*shape)
    outputs = ["potential_a", "potential_b", "marginal_a", "marginal_b", "lower_bound", "gap"]
    outputs += ["marginal_error", *([] if "sinkhorn" in name else ["plan"])]
    leaf = x.clone().requires_grad_()
    for output in outputs:
        loss = weighted(lambda p, output=output: getattr(solve(p), output))
        assert not getattr(solve(leaf), output).requires_grad, output
        assert not vmap(loss)(leaf[None]).requires_grad, output
        assert not grad(loss)(x).any(), output
        assert not jacrev(loss)(x).any(), output
        assert not vmap(grad(loss))(x[None]).any(), output


def dual_number(f: Function, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        return f(forward_ad.make_dual(x, x))


FORWARD = {
    "jvp": lambda f, x: jvp(f, (x,), (x,)),
    "jacfwd": lambda f, x: jacfwd(f)(x),
    "hessian": lambda f, x: hessian(f)(x),
    "vmap(jvp)": lambda f, x: vmap(lambda p: jvp(f, (p,), (p,))[1])(x[None]),
    "jvp(vmap)": lambda f, x: jvp(vmap(f), (x[None],), (x[None],)),
    "jacfwd(grad)": lambda f, x: jacfwd(grad(f))(x),
    "linearize": linearize,
    "dual number": dual_number,
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("output", ["value", "plan", "potential_a"])
@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("nesting", FORWARD)
def test_forward_mode_is_refused_by_name(nesting: str, name: str, output: str) -> None:
    shape, f = field(name, output)
    with pytest.raises(NotImplementedError, match="kantorch has no forward-mode derivatives"):
        FORWARD[nesting](weighted(f), draw(*shape))


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock", "chebyshev"])
def test_forward_mode_of_a_cost_matrix_is_refused_by_name(metric: str) -> None:
    x, y = draw(3, 2), draw(4, 2, seed=1)
    with pytest.raises(NotImplementedError, match="kantorch has no forward-mode derivatives"):
        jvp(lambda p: kantorch.costs.cost_matrix(p, y, metric=metric), (x,), (x,))


# Which dimensions of cost, a and b, or of x, y and a, are mapped ("v") and which form a batch inside ("b").
LEADS = ["vb v b", "v vb b", "v b vb", "v b b", "b v v", "b vb _", "_ vb v", "v _ b", "_ v b"]


@pytest.mark.parametrize("leads", LEADS)
@pytest.mark.parametrize("name", ["exact", "sinkhorn", "ipot", "line", "sinkhorn points"])
def test_results_that_leave_vmap_over_a_batch_have_the_fields_of_the_loop(
    name: str, leads: str
) -> None:
    # As many mapped as in the batch: a wrong broadcast would have the right shape.
    sizes = {"v": 3, "b": 3, "_": 0}
    tails = ((4, 5), (4,), (5,)) if name in OPTIONS else ((4, 1), (5, 1), (4,))
    if name == "sinkhorn points":
        tails = ((4, 2), (5, 2), (4,))

    def solve(*inputs: Tensor) -> kantorch.OTResult:
        if name in OPTIONS:
            return kantorch.solve(*inputs, **OPTIONS[name])
        return kantorch.solve_sample(*inputs, **OPTIONS["exact" if name == "line" else "sinkhorn"])

    inputs, dims = [], []
    for seed, (lead, tail) in enumerate(zip(leads.split(), tails, strict=True)):
        value = draw(*[sizes[k] for k in lead.strip("_")], *tail, seed=seed)
        if len(tail) == 1:
            value = value / value.sum(-1, keepdim=True)
        inputs.append(value.requires_grad_())
        dims.append(0 if "v" in lead else None)
    result = vmap(solve, tuple(dims))(*inputs)
    looped = [
        solve(*[t if d is None else t[i] for t, d in zip(inputs, dims, strict=True)])
        for i in range(3)
    ]
    for output in laws.FIELDS:
        want = torch.stack([getattr(r, output) for r in looped])
        got = getattr(result, output)
        assert got.shape == want.shape, output
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12, msg=output)
        if output not in differentiable(name):
            continue
        factors = weights(want.shape)
        found = torch.autograd.grad((got * factors).sum(), inputs, retain_graph=True)
        expected = torch.autograd.grad((want * factors).sum(), inputs, retain_graph=True)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10, msg=output)
    for twin in (copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        for output in laws.FIELDS:
            got, want = getattr(twin, output), getattr(result, output)
            torch.testing.assert_close(got, want, rtol=1e-14, atol=1e-16, msg=output)


def test_a_result_may_be_the_aux_of_grad() -> None:
    shape, solve = solver("sinkhorn")
    cost = draw(*shape)

    def loss(c: Tensor) -> tuple[Tensor, kantorch.OTResult]:
        result = solve(c)
        return result.value, result

    of_cost, result = grad(loss, has_aux=True)(cost)
    assert_equal(of_cost, result.plan)
    laws.assert_same_bits(result, solve(cost))
