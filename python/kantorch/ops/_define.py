"""How a kernel becomes a torch op: schema, fake, gradient and vmap rule, in one place.

`torch.library.register_autograd` builds an old-style Function, which functorch refuses; so beside the
op stands a `torch.autograd.Function` of the same rules, and the wrapper that `define` returns takes it
while a functorch transform or forward-mode AD is active.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from kantorch.ops import _registry
from kantorch.ops._arguments import layout, require_layout
from kantorch.ops._backend import on_cuda

# The number of dimensions of each tensor argument of a single problem; one more means batched.
OwnDims = Sequence[int | None]

_PLAIN = (Tensor, torch.nn.Parameter)


def _keys(tensor: Tensor) -> int:
    """What torch's dispatcher would do for a tensor, as a set of bits."""
    keys: int = torch._C._dispatch_keys(tensor).raw_repr()
    return keys


# Those of a tensor in CPU memory with no bit, wrapper or transform on it, made in or out of inference mode.
with torch.inference_mode():
    _PLAIN_KEYS = {_keys(torch.empty(1, device="cpu"))}
with torch.inference_mode(mode=False):
    _PLAIN_KEYS.add(_keys(torch.empty(1, device="cpu")))


def define(
    schema: str,
    *,
    kernel: Callable[..., Any],
    fake: Callable[..., Any],
    own_dims: OwnDims,
    double: Sequence[str] = (),
    outputs: type[Any] | None = None,
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Register `torch.ops.kantorch.<name>` and return the function to call it by.

    Args:
        schema: "name(Tensor cost, ...) -> ..."; without what it returns, if `outputs` tells that.
        kernel: the implementation on every device; allocates its outputs afresh. Those of a type with a
            `status` may be without a batch dimension where no argument has one: so they are called from
            here, to save views, while the op gives them one.
        fake: the same shapes and dtypes without values.
        own_dims: see `OwnDims`, one entry an argument, None for what is no tensor.
        double: arguments that are float64 here and in the dtype that is computed in elsewhere.
        outputs: a NamedTuple of tensors, if the op returns several. What the returned function gives,
            what `setup_context` takes and the gradients that `backward` takes are then of this type.
        setup_context: saves for backward. With `backward`, makes the op differentiable.
        backward: one gradient an argument, None where there is none.
    """
    named: Callable[[Any], Any] = _as_it_is
    with_batch = _as_it_is
    if outputs is not None:
        named, with_batch = outputs._make, _with_batch
        schema += f" -> ({', '.join(['Tensor'] * len(outputs._fields))})"
        if setup_context is not None and backward is not None:
            setup_context, backward = _of_named(outputs, setup_context, backward)
    name = schema.partition("(")[0]
    names = [part.split()[-1] for part in schema.partition("(")[2].partition(")")[0].split(",")]
    expected = layout(names, own_dims, double)

    def checked(*args: Any) -> Any:
        require_layout(name, expected, args)
        return with_batch(kernel(*args))

    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        return _vmap(call, own_dims, info.batch_size, in_dims, args)

    def vmap_of_op(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        # Below vmap torch differentiates an op by its own rule, and finds none for a Function.
        return _vmap(op, own_dims, info.batch_size, in_dims, args)

    op = _registry.register(
        schema,
        kernel=checked,
        fake=fake,
        vmap=vmap_of_op,
        setup_context=setup_context,
        backward=backward,
    )
    function: Any = None
    recorded: Any = None
    if backward is not None and setup_context is not None:
        function = _function(name, op, setup_context, backward, vmap)
        recorded = _plain_function(name, checked, setup_context, backward)

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            refuse_compiled_derivatives()
            return named(op(*args))
        if function is None:
            return named(op(*args))
        if (
            torch._C._are_functorch_transforms_active()
            or forward_ad._current_level >= 0  # no public way to ask
        ):
            return named(function.apply(*args))
        # Plain tensors do not need torch's dispatcher, which costs small problems 15 us a call, and 40 where
        # autograd records it.
        if _plain(args):
            return kernel(*args)
        if recorded is not None and _plain(args, recorded=True):
            return named(recorded.apply(*args))
        return named(op(*args))

    call.__name__ = name
    return call


def _as_it_is(result: Any) -> Any:
    return result


def _with_batch(result: Any) -> Any:
    """The outputs of a kernel as the op has them, with a batch dimension."""
    return result if result.status.ndim else result._make([x.unsqueeze(0) for x in result])


def _of_named(
    outputs: type[Any], setup_context: Callable[..., None], backward: Callable[..., Any]
) -> tuple[Callable[..., None], Callable[..., Any]]:
    """The two rules of a derivative, made to take the plain tuples that torch has."""

    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        setup_context(ctx, inputs, outputs._make(output))

    def back(ctx: Any, *grads: Tensor | None) -> Any:
        return backward(ctx, outputs._make(grads))

    return setup, back


def _plain(args: tuple[Any, ...], *, recorded: bool = False) -> bool:
    """Whether nobody but the kernel, or autograd if the call may be `recorded`, has anything to do with it.

    So with no mode or subclass.
    """
    if torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack():
        return False
    if torch._C._get_tracing_state() is not None:
        return False
    refused = torch.is_grad_enabled() and not recorded
    for tensor in args:
        if isinstance(tensor, Tensor) and (
            type(tensor) not in _PLAIN
            or torch._C._dispatch_keys(tensor).raw_repr() not in _PLAIN_KEYS  # _keys without a call
            or (refused and tensor.requires_grad)
        ):
            return False
    return True


def values_are_at_hand(*tensors: Tensor) -> bool:
    """Whether values may be looked at.

    Not while code is traced or transformed; meta tensors have none, and on CUDA looking would wait for the stream.
    """
    return not (
        any(tensor.is_meta or on_cuda(tensor.device) for tensor in tensors)
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state() is not None
    )


def refuse_compiled_derivatives() -> None:
    """Raise where code that is being compiled takes derivatives by `torch.func`, which no op survives.

    Without `fullgraph` the compiler then leaves that code to eager mode, where it works.
    """
    if _derivative_is_traced():
        msg = (
            "kantorch does not compile code that calls torch.func.grad, vjp, jacrev or jvp: compile "
            "what they are called on, or use torch.autograd"
        )
        raise NotImplementedError(msg)


def _derivative_is_traced() -> bool:
    transforms = torch._C._functorch.get_interpreter_stack() or ()
    vmap = torch._C._functorch.TransformType.Vmap
    return any(transform.key() != vmap for transform in transforms)


# The compiler shall run it, not trace it. torch.compiler.assume_constant_result would import the compiler.
_derivative_is_traced._dynamo_marked_constant = True  # type: ignore[attr-defined]


def refuse_forward_mode(*_: Any) -> Any:
    """The forward-mode derivative of every op."""
    msg = (
        "kantorch has no forward-mode derivatives (jvp, jacfwd, hessian, dual numbers): use grad, vjp or "
        "jacrev, and jacrev(jacrev(f)) for a Hessian"
    )
    raise NotImplementedError(msg)


def _function(
    name: str,
    op: Callable[..., Any],
    setup_context: Callable[..., None],
    backward: Callable[..., Any],
    vmap: Callable[..., Any],
) -> Any:
    members = {
        "forward": staticmethod(lambda *args: op(*args)),
        "setup_context": staticmethod(setup_context),
        "backward": staticmethod(backward),
        "vmap": staticmethod(vmap),
        "jvp": staticmethod(refuse_forward_mode),
    }
    return type(f"_{name.capitalize()}", (torch.autograd.Function,), members)


def _plain_function(
    name: str,
    kernel: Callable[..., Any],
    setup_context: Callable[..., None],
    backward: Callable[..., Any],
) -> Any:
    """For plain tensors: without the signature that torch binds at every call of a function with a `setup_context`."""

    def forward(ctx: Any, *args: Any) -> Any:
        output = kernel(*args)
        # Autograd wants a tuple: it makes no NamedTuple of its own tensors.
        output = output if isinstance(output, Tensor) else tuple(output)
        setup_context(ctx, args, output)
        return output

    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(f"_Plain{name.capitalize()}", (torch.autograd.Function,), members)


def _vmap(
    call: Callable[..., Any],
    own_dims: OwnDims,
    size: int,
    in_dims: tuple[int | None, ...],
    args: tuple[Any, ...],
) -> tuple[Any, Any]:
    """Fold the mapped dimension into the batch; what is neither mapped nor batched stays shared."""
    batch = 1
    for argument, dim, own in zip(args, in_dims, own_dims, strict=True):
        if isinstance(argument, Tensor) and own is not None:
            inner = [
                s for d, s in enumerate(argument.shape) if dim is None or d != dim % argument.ndim
            ]
            if len(inner) > own:
                batch = inner[0]

    folded = []
    vector = own_dims.index(1) if 1 in own_dims else -1
    for index, (argument, dim, own) in enumerate(zip(args, in_dims, own_dims, strict=True)):
        if not isinstance(argument, Tensor) or own is None:
            folded.append(argument)
            continue
        # One vector always tells the size: starts, which alone may be mapped, are no part of the batch.
        if dim is None and argument.ndim == own and index != vector:
            folded.append(argument)
            continue
        mapped = argument.expand(size, *argument.shape) if dim is None else argument.movedim(dim, 0)
        if mapped.ndim == own + 1:
            mapped = mapped.unsqueeze(1).expand(size, batch, *mapped.shape[1:])
        folded.append(mapped.reshape(size * batch, *mapped.shape[2:]))
    outputs = call(*folded)
    if isinstance(outputs, Tensor):
        return outputs.reshape(size, batch, *outputs.shape[1:]), 0
    return (
        tuple(output.reshape(size, batch, *output.shape[1:]) for output in outputs),
        (0,) * len(outputs),
    )
