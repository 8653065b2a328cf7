"""The short way past torch's dispatcher is for plain tensors alone."""

import pytest
import torch

import kantorch
from kantorch.ops._define import _plain
from recorder import Recorder


def test_a_functional_tensor_goes_through_the_dispatcher() -> None:
    cost = torch.rand(3, 4, dtype=torch.float64)
    for options in ({}, {"reg": 0.1}, {"method": "ipot", "max_iter": 20, "tol": 0.0}):
        plain = kantorch.solve(cost, **options).value
        functional = torch._to_functional_tensor(cost)
        torch._enable_functionalization(reapply_views=False)
        try:
            value = kantorch.solve(functional, **options).value
            torch._sync(value)
            value = torch._from_functional_tensor(value)
        finally:
            torch._disable_functionalization()
        assert torch.equal(value, plain)


KINDS = {
    "coo": lambda t: t.to_sparse(),
    "mkldnn": lambda t: t.float().to_mkldnn(),
    "nested": lambda t: torch.nested.nested_tensor([t, t]),
    "jagged": lambda t: torch.nested.nested_tensor([t, t], layout=torch.jagged),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["cost", "a", "b", "reg", "beta", "f", "g", "x", "y"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_tensor_that_is_not_dense_is_a_type_error_by_name(name: str, kind: str) -> None:
    make, vector = KINDS[kind], torch.ones(3) / 3
    cost = torch.rand(3, 3)
    calls = {
        "cost": lambda: kantorch.solve(make(cost)),
        "a": lambda: kantorch.solve(cost, make(vector)),
        "b": lambda: kantorch.solve(cost, None, make(vector)),
        "reg": lambda: kantorch.solve(cost, reg=make(vector)),
        "beta": lambda: kantorch.solve(cost, method="ipot", beta=make(vector)),
        "f": lambda: kantorch.solve(cost, potentials_init=(make(vector), vector)),
        "g": lambda: kantorch.solve(cost, potentials_init=(vector, make(vector))),
        "x": lambda: kantorch.solve_sample(make(cost), cost),
        "y": lambda: kantorch.solve_sample(cost, make(cost)),
    }
    with pytest.raises(TypeError, match=rf"^(potentials_init )?{name} must be a dense tensor"):
        calls[name]()


@pytest.mark.parametrize("method", ["exact", "line", "sinkhorn", "ipot"])
def test_starts_alone_are_mapped(method: str) -> None:
    x, y = torch.rand(4, 1, dtype=torch.float64), torch.rand(6, 1, dtype=torch.float64)
    f, g = torch.rand(5, 4, dtype=torch.float64), torch.rand(5, 6, dtype=torch.float64)

    def value(f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        if method == "line":
            return kantorch.solve_sample(x, y, potentials_init=(f, g)).value
        options = {"exact": {}, "sinkhorn": {"reg": 0.1}, "ipot": {"tol": 0.0, "max_iter": 20}}
        cost = (x - y.T) ** 2
        return kantorch.solve(cost, method=method, potentials_init=(f, g), **options[method]).value

    looped = torch.stack([value(*start) for start in zip(f, g, strict=True)])
    torch.testing.assert_close(torch.vmap(value)(f, g), looped, rtol=1e-13, atol=0)


def test_starts_of_a_line_pass_through_a_compiled_graph() -> None:
    x, y = torch.rand(4, 1), torch.rand(6, 1)

    def value(f: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return kantorch.solve_sample(x, y, potentials_init=(f, g)).value

    compiled = torch.compile(value, fullgraph=True, backend="eager")
    assert torch.equal(
        compiled(torch.zeros(4), torch.zeros(6)), value(torch.zeros(4), torch.zeros(6))
    )
    with pytest.raises(ValueError, match="finite"):
        compiled(torch.full((4,), torch.nan), torch.zeros(6))


def test_a_strength_that_requires_a_gradient_is_refused_inside_vmap() -> None:
    reg = torch.tensor([0.1, 0.2], requires_grad=True)
    with pytest.raises(ValueError, match="reg is not differentiated"):
        torch.vmap(lambda r: kantorch.solve(torch.eye(3), reg=r).value)(reg)


class Subclass(torch.Tensor):
    pass


class Wrapper(torch.Tensor):
    """Holds another tensor, and torch's dispatcher asks it what to do."""

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> torch.Tensor:
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError


def fake(t: torch.Tensor) -> torch.Tensor:
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode().from_tensor(t)


def mapped(t: torch.Tensor) -> torch.Tensor:
    """What a function that is mapped sees, after it has ended."""
    seen = []
    torch.vmap(lambda row: (seen.append(row), row)[1])(t.expand(2, *t.shape))
    return seen[0]


def under_grad(t: torch.Tensor) -> torch.Tensor:
    seen = []
    torch.func.grad(lambda x: (seen.append(x), x.sum())[1])(t)
    return seen[0]


def in_inference(t: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return t.clone()


PLAIN = {
    "tensor": lambda t: t,
    "larger": lambda t: torch.cat([t, t]),
    "transposed": lambda t: t.mT if t.ndim > 1 else t,
    "expanded": lambda t: t[:1].expand_as(t),
    "view": lambda t: t[1:],
    "empty": lambda t: t[:0],
    "parameter": lambda t: torch.nn.Parameter(t.clone(), requires_grad=False),
    "buffer": lambda t: torch.nn.Buffer(t.clone()),
    "float64": lambda t: t.double(),
    "made in inference mode": in_inference,
    "batch": lambda t: t[None],
}
OTHER = {
    "requires grad": lambda t: t.clone().requires_grad_(),
    "parameter with gradient": lambda t: torch.nn.Parameter(t.clone()),
    "with a graph": lambda t: t.clone().requires_grad_() * 2,
    "negative": torch._neg_view,
    "zero tensor": lambda t: torch._efficientzerotensor(t.shape),
    "functional": torch._to_functional_tensor,
    "meta": lambda t: t.to("meta"),
    "subclass": lambda t: t.as_subclass(Subclass),
    "wrapper": Wrapper,
    "fake": fake,
    "mapped": mapped,
    "under grad": under_grad,
    "coo": lambda t: t.to_sparse(),
    "mkldnn": lambda t: t.to_mkldnn(),
    "jagged": lambda t: torch.nested.nested_tensor([t, t], layout=torch.jagged),
    "nested": lambda t: torch.nested.nested_tensor([t, t]),
}
CALL = (torch.rand(3, 4), torch.rand(3), torch.rand(4), None, None, -1, 0)


def calls(kinds):
    """A kind of tensor at every place of a call."""
    for place in range(3):
        for kind, make in kinds.items():
            call = list(CALL)
            call[place] = make(call[place])
            yield f"{kind} at {place}", tuple(call)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_short_way_is_for_tensors_in_plain_memory_without_a_gradient() -> None:
    for name, call in calls(PLAIN):
        assert _plain(call), name
        with torch.no_grad():
            assert _plain(call), name
        with torch.inference_mode():
            assert _plain(call), name
    for name, call in calls(OTHER):
        assert not _plain(call), name


def test_plain_tensors_under_a_mode_or_in_a_trace_do_not_go_the_short_way() -> None:
    from torch.overrides import TorchFunctionMode

    assert _plain(CALL)
    for mode in (Recorder(), TorchFunctionMode()):
        with mode:
            assert not _plain(CALL)
    seen = []

    def traced(x: torch.Tensor) -> torch.Tensor:
        seen.append(_plain(CALL))
        return x

    torch.jit.trace(traced, torch.ones(1), check_trace=False)
    assert seen == [False]
