"""`torch.jit.trace`, `torch.export` and symbolic traces of code that solves: right values, or a refusal by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import kantorch
from solvers import (
    DIFFERENTIABLE,
    OPTIONS,
    SOLVERS,
    Function,
    draw,
    field,
    solver,
    targets,
    weighted,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # tracing warns of every check of an argument

OUTPUTS = ("value", "plan", "value_linear", "lower_bound")


def gradient(function: Function, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(weighted(function)(x), x)[0]


def assert_equal(got: Tensor, want: Tensor) -> None:
    assert got.dtype == want.dtype
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("name", SOLVERS)
def test_a_trace_solves_what_it_is_given(name: str, output: str) -> None:
    shape, f = field(name, output)
    trace = torch.jit.trace(f, draw(*shape))
    other = draw(*shape, seed=9)
    assert_equal(trace(other), f(other))
    # Sizes are traced: as many more points as one likes.
    more = draw(shape[0] + 3, *shape[1:], seed=9)
    assert_equal(trace(more), f(more))


@pytest.mark.parametrize("traced_with_gradients", [False, True])
@pytest.mark.parametrize(("name", "output"), DIFFERENTIABLE)
def test_a_trace_is_differentiable(name: str, output: str, traced_with_gradients: bool) -> None:
    shape, f = field(name, output)
    trace = torch.jit.trace(f, draw(*shape).requires_grad_(traced_with_gradients))
    other = draw(*shape, seed=9)
    torch.testing.assert_close(gradient(trace, other), gradient(f, other), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_trace_of_another_dtype_is_refused_by_name(name: str) -> None:
    shape, solve = solver(name)
    inputs = (draw(*shape),) if name in OPTIONS else (draw(*shape), targets(name))
    trace = torch.jit.trace(lambda *tensors: solve(*tensors).value, inputs)
    with pytest.raises(RuntimeError, match=r"TypeError: kantorch::\w+: \w+ must be float64"):
        trace(*[tensor.float() for tensor in inputs])


@pytest.mark.parametrize("name", SOLVERS)
def test_bad_values_in_a_trace_raise(name: str) -> None:
    shape, f = field(name, "value")
    trace = torch.jit.trace(f, draw(*shape))
    with pytest.raises(RuntimeError, match=r"ValueError: .* must be finite"):
        trace(torch.full(shape, torch.nan, dtype=torch.float64))


@pytest.mark.parametrize(("name", "output"), DIFFERENTIABLE)
def test_a_symbolic_trace_is_differentiable(name: str, output: str) -> None:
    shape, f = field(name, output)
    trace = make_fx(f)(draw(*shape))
    other = draw(*shape, seed=9)
    assert_equal(trace(other), f(other))
    torch.testing.assert_close(gradient(trace, other), gradient(f, other), rtol=1e-9, atol=1e-12)


class Program(torch.nn.Module):
    def __init__(self, name: str, output: str) -> None:
        super().__init__()
        self.solve, self.output = solver(name)[1], output
        # A tensor that is neither argument nor buffer is more than torch's own export can take.
        self.register_buffer("y", None if name in OPTIONS else targets(name))

    def forward(self, x: Tensor) -> Tensor:
        result = self.solve(x) if self.y is None else self.solve(x, self.y)
        return getattr(result, self.output)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("output", ["value", "plan"])
@pytest.mark.parametrize("name", SOLVERS)
def test_an_exported_program_takes_any_number_of_points(
    name: str, output: str, strict: bool
) -> None:
    shape, f = field(name, output)
    sizes = {0: torch.export.Dim("n", min=2, max=64)}
    program = torch.export.export(
        Program(name, output), (draw(*shape),), dynamic_shapes={"x": sizes}, strict=strict
    ).module()
    for n in (shape[0], 2, 9):
        x = draw(n, *shape[1:], seed=n)
        assert_equal(program(x), f(x))


@pytest.mark.parametrize("output", ["value", "plan"])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_full_graph_with_dynamic_shapes_takes_any_number_of_points(
    name: str, output: str
) -> None:
    shape, f = field(name, output)
    torch._dynamo.reset()
    compiled = torch.compile(f, fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (shape[0], 2, 9):
        x = draw(n, *shape[1:], seed=n)
        assert_equal(compiled(x), f(x))
    torch._dynamo.reset()


def test_a_result_without_a_graph_stays_so_under_a_dispatch_mode() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    cost = draw(3, 4).requires_grad_()
    with FlopCounterMode(display=False), torch.no_grad():
        result = kantorch.solve(cost, reg=0.5)
    assert not result.plan.requires_grad
    assert not result.value_linear.requires_grad
