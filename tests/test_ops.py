"""The torch ops: `opcheck` on calls as `solve` makes them, for every op that is registered."""

from __future__ import annotations

import warnings

import pytest
import torch

import kantorch
from recorder import Recorder, registered_ops


def everyday_calls(requires_grad, dtype=torch.float64):
    """Reaches every op: all methods, batched and not, with first and second derivatives."""
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype)

    for method in (
        {},
        {"reg": 0.3},
        {"reg": 0.3, "reg_type": "entropy"},
        {"method": "ipot", "max_iter": 20, "tol": 0.0},
    ):
        for lead in ((), (2,)):
            cost = leaf(*lead, 3, 4).requires_grad_(requires_grad)
            a = leaf(*lead, 3).softmax(-1).detach().requires_grad_(requires_grad)
            b = leaf(*lead, 4).softmax(-1).detach().requires_grad_(requires_grad)
            result = kantorch.solve(cost, a, b, **method)
            for name in ("plan", "value_linear", "lower_bound", "gap", "marginal_a", "marginal_b"):
                getattr(result, name)
            if requires_grad:
                first = torch.autograd.grad(
                    result.value.sum(), (cost, a, b), create_graph="reg" in method
                )
                if "reg" in method:
                    torch.autograd.grad(
                        sum((g * g).sum() for g in first), (cost, a, b), retain_graph=True
                    )
                    torch.autograd.grad((result.plan**2).sum(), (cost, a, b), retain_graph=True)
    x = leaf(3, 2).requires_grad_(requires_grad)
    on_line = kantorch.solve_sample(x[:, :1], leaf(4, 1).requires_grad_(requires_grad))
    if requires_grad:
        torch.autograd.grad(on_line.value, x)
    kantorch.costs.cost_matrix(leaf(256, 64).detach(), leaf(64, 64).detach())
    y = leaf(4, 2).requires_grad_(requires_grad)
    for options in ({}, {"reg": 0.3}, {"method": "ipot", "max_iter": 20, "tol": 0.0}):
        for metric in ("sqeuclidean", "euclidean"):
            result = kantorch.solve_sample(x, y, metric=metric, **options)
            for name in ("plan", "value_linear", "lower_bound", "potentials"):
                getattr(result, name)
            if requires_grad:
                torch.autograd.grad(result.value, (x, y))


def record(requires_grad, dtype=torch.float64):
    with Recorder() as recorder, warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        everyday_calls(requires_grad, dtype)
    return recorder.calls


def distinct(calls):
    """One call for every op and pattern of shapes, dtypes and required gradients."""
    seen = {}
    for func, args, kwargs in calls:
        shape = tuple(
            (tuple(v.shape), v.dtype, v.requires_grad)
            if isinstance(v, torch.Tensor)
            else type(v).__name__
            for v in (*args, *kwargs.values())
        )
        seen.setdefault((str(func), shape), (func, args, kwargs))
    return list(seen.values())


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_recorded_call_passes_opcheck(requires_grad, dtype):
    calls = distinct(record(requires_grad, dtype))
    assert calls
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for func, args, kwargs in calls:
            torch.library.opcheck(func, args, kwargs)


def test_every_registered_op_is_reached():
    reached = {func.name().split(".")[0] for func, _, _ in record(requires_grad=True)}
    reached |= {func.name().split(".")[0] for func, _, _ in record(requires_grad=False)}
    assert registered_ops()
    assert registered_ops() == reached


def test_fake_tensors_have_the_shapes_and_strides_of_the_real_ones():
    from torch._subclasses.fake_tensor import FakeTensorMode

    for func, args, kwargs in distinct(record(requires_grad=False)):
        real = func(*args, **kwargs)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake_args, fake_kwargs = torch.utils._pytree.tree_map_only(
                torch.Tensor, mode.from_tensor, (args, kwargs)
            )
            fake = func(*fake_args, **fake_kwargs)
        real, fake = (x if isinstance(x, (tuple, list)) else (x,) for x in (real, fake))
        for r, f in zip(real, fake, strict=True):
            if isinstance(r, torch.Tensor):
                assert (r.shape, r.stride(), r.dtype) == (f.shape, f.stride(), f.dtype), func


def test_a_negative_view_is_read_as_what_it_is():
    cost = torch.tensor([[1.0, 3.0], [2.0, 5.0]], dtype=torch.float64)
    negative = torch._neg_view(cost)
    for options in ({}, {"reg": 0.5}, {"method": "ipot"}):
        seen = kantorch.solve(negative, **options).value
        torch.testing.assert_close(seen, kantorch.solve(-cost, **options).value)


@pytest.mark.filterwarnings("ignore")  # tracing warns of every check of an argument
@pytest.mark.parametrize("options", [{}, {"reg": 0.1}, {"method": "ipot"}])
def test_a_traced_solve_solves_what_it_is_given(options):
    draw = torch.Generator().manual_seed(3)
    first, second = torch.rand(2, 4, 5, generator=draw)
    traced = torch.jit.trace(lambda c: kantorch.solve(c, **options).value, first)
    torch.testing.assert_close(traced(second), kantorch.solve(second, **options).value)


@pytest.mark.parametrize("fault", ["dtype", "shape"])
def test_tensors_that_do_not_agree_are_refused_before_they_are_read(fault):
    def broken(tensor):
        if fault == "dtype":
            return tensor.to(torch.float32 if tensor.dtype == torch.float64 else torch.float64)
        return tensor.narrow(-1, 0, tensor.shape[-1] - 1)

    kind = TypeError if fault == "dtype" else ValueError
    for func, args, kwargs in distinct(record(requires_grad=True)):
        assert not kwargs
        found = [k for k, v in enumerate(args) if isinstance(v, torch.Tensor)]
        for k in found:
            if fault == "shape" and args[k].ndim == 0:
                continue
            wrong = list(args)
            wrong[k] = broken(args[k]).detach()
            with pytest.raises(kind, match=rf"^{func.name()}: \w+ must"):
                func(*wrong)
            if func._schema.arguments[k].name in ("reg", "beta", "eps"):
                continue  # whose only size is that of the batch, by which vmap takes its dimension
            with pytest.raises(kind, match=rf"^{func.name()}: \w+ must"):
                # Mapped, so that it comes by the rule for vmap; called at once, while the names hold.
                torch.vmap(lambda t: func(*wrong[:k], t, *wrong[k + 1 :]))(wrong[k][None])  # noqa: B023


@pytest.mark.parametrize("size", [3, 4])  # no rows, or no columns
def test_empty_problems_are_refused_or_have_empty_answers(size, dtype):
    def emptied(value):
        if not isinstance(value, torch.Tensor):
            return value
        value = value.detach()
        for dim in range(value.ndim):
            value = value.narrow(dim, 0, 0) if value.shape[dim] == size else value
        return value

    answered = 0
    for func, args, kwargs in distinct(record(False, dtype)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
            try:
                got = func(*map(emptied, args), **{k: emptied(v) for k, v in kwargs.items()})
            except (ValueError, RuntimeError, IndexError):
                continue
        answered += 1
        outputs = got if isinstance(got, (tuple, list)) else [got]
        assert all(bool(torch.isfinite(output.double()).all()) for output in outputs)
    assert answered  # distances of no points are no distances


@pytest.mark.parametrize("method", [{"method": "ipot"}, {"reg": 0.1}, {}], ids=str)
@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock", "chebyshev"])
@pytest.mark.parametrize("empty", ["a", "b", "both"])
def test_points_without_mass_on_either_side_have_potentials(method, metric, empty, dtype):
    x, y = (
        torch.rand(n, 2, generator=torch.Generator().manual_seed(n), dtype=dtype) for n in (3, 4)
    )
    a = torch.tensor([0, 0.5, 0.5] if empty != "b" else [0.25, 0.25, 0.5], dtype=dtype)
    b = torch.tensor([0, 0.5, 0.25, 0.25] if empty != "a" else [0.25] * 4, dtype=dtype)
    a.requires_grad_()
    result = kantorch.solve_sample(x, y, a, b, metric=metric, **method)
    assert all(bool(p.isfinite().all()) for p in result.potentials)
    (gradient,) = torch.autograd.grad(result.value, a)
    assert bool(gradient.isfinite().all())
