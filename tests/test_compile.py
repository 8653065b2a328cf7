"""`torch.compile(fullgraph=True)` runs code that calls `solve`, with its gradients and its errors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import kantorch
import laws


@pytest.fixture(autouse=True)
def _fresh_dynamo():
    torch._dynamo.reset()
    # What torch itself deprecates while compiling is not this library's to judge.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield
    torch._dynamo.reset()


def compiled(function, backend="aot_eager", **kwargs):
    return torch.compile(function, fullgraph=True, backend=backend, **kwargs)


def options(method):
    return {"max_iter": 60, "tol": 0.0} if method == "ipot" else {}


def inputs(rng, batch=(), n=5, m=6):
    size = batch[0] if batch else None
    parts = (
        rng.uniform(size=(*batch, n, m)),
        rng.dirichlet(np.ones(n), size),
        rng.dirichlet(np.ones(m), size),
    )
    return [torch.from_numpy(t).requires_grad_() for t in parts]


@pytest.mark.parametrize("batch", [(), (3,)], ids=str)
def test_value_and_gradient_equal_eager(batch, method, rng):
    extra = {**laws.arguments(method), **options(method)}

    def loss(cost, a, b):
        return (kantorch.solve(cost, a, b, **extra).value ** 2).sum()

    leaves = inputs(rng, batch)
    want = torch.autograd.grad(loss(*leaves), leaves)
    run = compiled(loss)
    value = run(*leaves)
    torch.testing.assert_close(value, loss(*leaves), rtol=1e-14, atol=0)
    for got, one in zip(torch.autograd.grad(value, leaves), want, strict=True):
        torch.testing.assert_close(got, one, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("name", ["plan", "value_linear"])
def test_sinkhorn_fields_differentiate_inside_compile(name, rng):
    leaves = inputs(rng, (2,))
    weight = torch.from_numpy(rng.normal(size=(2, 5, 6)))

    def loss(cost, a, b):
        field = getattr(kantorch.solve(cost, a, b, reg=0.2), name)
        return (field * weight).sum() if name == "plan" else field.sum()

    want = torch.autograd.grad(loss(*leaves), leaves)
    got = torch.autograd.grad(compiled(loss)(*leaves), leaves)
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-13)


def test_default_backend_runs_a_training_step(rng):
    points = torch.from_numpy(rng.normal(size=(8, 3))).requires_grad_()
    target = torch.from_numpy(rng.normal(size=(8, 3)))

    def loss(x):
        cost = ((x[:, None] - target) ** 2).sum(-1)
        return kantorch.solve(cost.relu()).value + kantorch.solve(cost, reg=0.5).value

    want = torch.autograd.grad(loss(points), points)[0]
    got = torch.autograd.grad(compiled(loss, backend="inductor")(points), points)[0]
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-13)


def test_all_fields_are_traced(method, rng):
    cost = torch.from_numpy(rng.uniform(size=(2, 5, 6)))

    def fields(cost):
        result = laws.solve(method, cost, **options(method))
        return tuple(getattr(result, name) for name in laws.FIELDS)

    for got, want, name in zip(compiled(fields)(cost), fields(cost), laws.FIELDS, strict=True):
        assert got.dtype == want.dtype, name
        assert got.shape == want.shape, name
        torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-15)


def test_shapes_may_be_dynamic(method, rng):
    run = compiled(lambda c: laws.solve(method, c, **options(method)).value, dynamic=True)
    for shape in ((2, 4, 5), (3, 7, 6), (5, 3, 9)):
        cost = torch.from_numpy(rng.uniform(size=shape))
        torch.testing.assert_close(run(cost), laws.solve(method, cost, **options(method)).value)


def test_strength_may_be_a_tensor(rng):
    cost = torch.from_numpy(rng.uniform(size=(3, 4, 5)))
    reg = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    run = compiled(lambda c, r: kantorch.solve(c, reg=r).value)
    torch.testing.assert_close(
        run(cost, reg), kantorch.solve(cost, reg=reg).value, rtol=1e-13, atol=0
    )


def test_float_strength_may_change(rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5)))
    run = compiled(lambda c, reg: kantorch.solve(c, reg=reg).value)
    for reg in (0.1, 0.2, 0.4):  # from the second value on, the compiler takes it for a variable
        torch.testing.assert_close(run(cost, reg), kantorch.solve(cost, reg=reg).value)


def test_half_precision_is_traced(rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5))).bfloat16()
    value = compiled(lambda c: kantorch.solve(c, reg=0.1).value)(cost)
    assert value.dtype == torch.float32


@pytest.mark.parametrize("fault", ["cost", "a", "mass", "reg"])
def test_bad_values_raise_from_inside(fault, method):
    if fault == "reg" and method != "sinkhorn":
        pytest.skip("only Sinkhorn has a strength")
    cost, a, b = (
        torch.rand(3, 4).double(),
        torch.full((3,), 1 / 3, dtype=torch.float64),
        torch.full((4,), 1 / 4, dtype=torch.float64),
    )
    reg = torch.tensor(0.1, dtype=torch.float64)
    run = compiled(
        lambda cost, a, b, reg: (
            kantorch.solve(
                cost,
                a,
                b,
                **{
                    **laws.arguments(method),
                    **options(method),
                    **({"reg": reg} if method == "sinkhorn" else {}),
                },
            ).value
        )
    )
    run(cost, a, b, reg)
    if fault == "cost":
        cost = cost.clone()
        cost[1, 2] = float("nan")
        words = r"cost\[1, 2\] = nan"
    elif fault == "a":
        a = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
        words = r"a\[0\]"
    elif fault == "mass":
        b = b * 2
        words = "mass"
    else:
        reg = torch.tensor(-1.0, dtype=torch.float64)
        words = "reg"
    with pytest.raises(ValueError, match=words):
        run(cost, a, b, reg)


def test_result_may_leave_the_compiled_function(rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5)))
    result = compiled(lambda c: kantorch.solve(c * 2, reg=0.1))(cost)
    want = kantorch.solve(cost * 2, reg=0.1)
    torch.testing.assert_close(result.plan, want.plan)
    torch.testing.assert_close(result.value, want.value)


def test_solve_sample_is_traced(rng):
    x = torch.from_numpy(rng.normal(size=(6, 2))).requires_grad_()
    y = torch.from_numpy(rng.normal(size=(5, 2)))

    def loss(x):
        return kantorch.solve_sample(x, y, reg=0.5).value

    want = torch.autograd.grad(loss(x), x)[0]
    got = torch.autograd.grad(compiled(loss)(x), x)[0]
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-13)


DERIVATIVES = {
    "grad": lambda f: torch.func.grad(f),
    "vmap(grad)": lambda f: torch.func.vmap(torch.func.grad(f)),
    "grad(vmap)": lambda f: torch.func.grad(lambda c: torch.func.vmap(f)(c).sum()),
    "jacrev": lambda f: torch.func.jacrev(f),
    "vjp": lambda f: lambda c: torch.func.vjp(f, c)[1](torch.ones((), dtype=c.dtype))[0],
}


def solver_of(method):
    """Between points for "points" and "line"; the mean over a batch, so that every transform takes it."""
    if method in ("points", "line"):
        y = torch.linspace(0, 1, 8, dtype=torch.float64).reshape(-1, 1 if method == "line" else 2)
        return lambda x: kantorch.solve_sample(x, y).value.mean()
    return lambda c: laws.solve(method, c, **options(method)).value.mean()


# The compiler itself reads the gradients of tensors that are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("name", DERIVATIVES)
@pytest.mark.parametrize("method", ["exact", "sinkhorn", "ipot", "points", "line"])
def test_derivatives_inside_a_full_graph_are_refused_by_name_and_else_left_to_eager_mode(
    method, name, rng
):
    shape = {"points": (4, 2), "line": (4, 1)}.get(method, (4, 5))
    function = DERIVATIVES[name](solver_of(method))
    inputs = torch.from_numpy(rng.uniform(size=(3, *shape)))
    if "vmap" not in name:
        inputs = inputs[0]
    with pytest.raises(torch._dynamo.exc.Unsupported, match="kantorch does not compile code that"):
        compiled(function)(inputs)
    torch._dynamo.reset()
    torch.testing.assert_close(
        torch.compile(function, backend="aot_eager")(inputs), function(inputs)
    )


@pytest.mark.parametrize("method", ["exact", "sinkhorn", "ipot", "points", "line"])
def test_vmap_is_compiled(method, rng):
    shape = {"points": (4, 2), "line": (4, 1)}.get(method, (4, 5))
    inputs = torch.from_numpy(rng.uniform(size=(3, *shape))).requires_grad_()
    function = torch.func.vmap(solver_of(method))
    got, want = compiled(function)(inputs), function(inputs)
    torch.testing.assert_close(got, want)
    for one, other in zip(
        torch.autograd.grad(got.sum(), inputs), torch.autograd.grad(want.sum(), inputs), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("method", ["exact", "sinkhorn", "ipot", "points", "line"])
def test_forward_mode_is_refused_by_name_inside_a_full_graph(method, rng):
    shape = {"points": (4, 2), "line": (4, 1)}.get(method, (4, 5))
    point = torch.from_numpy(rng.uniform(size=shape))
    solve = solver_of(method)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="kantorch does not compile code that"):
        compiled(lambda c: torch.func.jvp(solve, (c,), (c,))[1])(point)
