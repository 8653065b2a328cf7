"""Forward hooks that keep what a layer computed until everybody who waits for it has taken it."""

from __future__ import annotations

import contextlib
import copyreg
import sys
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.utils.hooks import RemovableHandle


class Catch:
    """What one layer, by its input or its output, computed in the last pass.

    Attributes:
        readers: Who is promised it after each pass.
        value: A copy, as the next layer may work in place, where it is a tensor or holds tensors.
        grad_enabled: Whether gradients were on.
        waiting: The readers who have not taken it yet; when the last one has, it is forgotten.
    """

    def __init__(self) -> None:
        self.readers: set[int] = set()
        self.forget()
        self.counts: Callable[[Catch], bool] = _always  # whether what is computed now is kept

    def taken_in(self, inputs: tuple[Any, ...], named: dict[str, Any] | None = None) -> None:
        # Tools of torch that replace modules take over their hooks, but not that these see named arguments.
        self._keep(inputs[0] if inputs else next(iter((named or {}).values()), None))

    def returned(self, inputs: tuple[Any, ...], output: object) -> None:
        self._keep(output)

    def _keep(self, value: object) -> None:
        if _in_backward():
            return  # a checkpoint computes its segment once more
        if not self.counts(self):
            return
        self.value: object = _copied(value)
        self.grad_enabled = torch.is_grad_enabled()
        self.waiting = set(self.readers)

    def take(self, reader: int) -> tuple[object, bool] | None:
        if reader not in self.waiting:
            return None
        taken = self.value, self.grad_enabled
        self.waiting.discard(reader)
        if not self.waiting:
            self.forget()
        return taken

    def forget(self) -> None:
        self.value = None
        self.grad_enabled = False
        self.waiting = set()


def _always(catch: Catch) -> bool:
    return True


class Passes:
    """Tells the passes of a network apart, and knows what it was called with last.

    A forward that calls the network itself is one pass, with the inputs of the outermost call. Parts
    that are called outside of a pass make one of their own, of unknown inputs, unless a whole one still
    waits for its readers. A pass without gradients waits in vain for those of a step.
    """

    def __init__(
        self, network: weakref.ref[nn.Module], catches: dict[tuple[str, str], Catch]
    ) -> None:
        self.network = network
        self.catches = catches
        # Whose identity tells passes apart. A number that counts them would be compiled anew for each.
        self.last: list[None] = []
        self.depth = 0  # calls of the network that are under way
        self.inputs: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self.versions: list[int] = []

    def part(self, catch: Catch) -> bool:
        """Whether a part of the network that is called now belongs to a pass."""
        if self.depth == 0:
            without_gradients = torch.is_grad_enabled() and not catch.grad_enabled
            if self.inputs is not None and catch.waiting and not without_gradients:
                return False
            self.last = []
            self.inputs = None
        return True

    def end(self, *_: object) -> None:
        if not _in_backward():
            self.depth = max(self.depth - 1, 0)

    def begin(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if _in_backward():
            return
        if self.depth > 0 and not _calls_itself(self.network):
            self.depth = 0  # of a pass that Ctrl-C has ended, after which torch calls no hooks
        self.depth += 1
        if self.depth > 1:
            return
        self.last = []
        for catch in self.catches.values():
            catch.forget()
        self.inputs = inputs, dict(named)
        self.versions = versions(self.inputs)


class Hook:
    """A forward hook or forward pre-hook that hands on what it sees.

    Copies and pickles of the network are without it.
    """

    def __init__(self, receive: Callable[..., None]) -> None:
        self.receive = receive

    def __call__(self, module: nn.Module, *seen: object) -> None:
        self.receive(*seen)

    @property
    def __name__(self) -> str:
        # torch.jit.script asks for it, in order to compile what it names.
        msg = (
            "a network cannot be scripted while a regularizer watches it: call the regularizer's "
            "close() first"
        )
        raise AttributeError(msg)

    def __reduce__(self) -> tuple[Any, ...]:
        # For picklers that do not ask copyreg: takes any three arguments and returns None.
        return getattr, (contextlib.nullcontext(), "__exit__")

    def before(self, module: nn.Module, *, first: bool = False) -> RemovableHandle:
        """Call it with what a module takes; `first`, before hooks that were there already may change it."""
        handle = module.register_forward_pre_hook(self, with_kwargs=True, prepend=first)
        # The mark of hooks that take named arguments is left out of copies by its value.
        module._forward_pre_hooks_with_kwargs[handle.id] = self  # type: ignore[assignment]
        return handle

    def after(self, module: nn.Module) -> RemovableHandle:
        """Call it with what a module returns."""
        return module.register_forward_hook(self)

    def finally_(self, module: nn.Module) -> RemovableHandle:
        """Call it after the forward of a module, also where that raised."""
        handle = module.register_forward_hook(self, always_call=True)
        # As above: left out of copies by its value.
        module._forward_hooks_always_called[handle.id] = self  # type: ignore[assignment]
        return handle


_reduce: Callable[[OrderedDict[Any, Any]], Any] = copyreg.dispatch_table.get(
    OrderedDict, OrderedDict.__reduce__
)


def _without_hooks(mapping: OrderedDict[Any, Any]) -> Any:
    """What `copy` and `pickle` make of an OrderedDict, as modules keep their hooks in."""
    reduced = _reduce(mapping)
    if not any(isinstance(value, Hook) for value in mapping.values()):
        return reduced
    kept = OrderedDict(item for item in mapping.items() if not isinstance(item[1], Hook))
    return _reduce(kept)


# So every way to copy a network leaves hooks behind: a module has no say in what becomes of its
# hooks, and a hook has none in whether its entry is copied.
copyreg.pickle(OrderedDict, _without_hooks)


def versions(inputs: object) -> list[int]:
    """How often each of the tensors among the inputs has been changed in place."""
    if torch.compiler.is_compiling():
        return []
    # Inference tensors do not count their changes.
    return [
        leaf._version
        for leaf in tree_leaves(inputs)
        if isinstance(leaf, torch.Tensor) and not leaf.is_inference()
    ]


def _calls_itself(network: weakref.ref[nn.Module]) -> bool:
    """Whether a call of the network that is being made lies within another one, as far as frames tell."""
    if torch.compiler.is_compiling():
        return True
    calls, frame = 0, sys._getframe()
    while frame.f_back is not None and calls < 2:
        frame = frame.f_back
        called = frame.f_code is _call
        calls += called and frame.f_locals.get("self") is network()
        if "_dynamo" in frame.f_code.co_filename:
            return True  # frames of compiled code are others
    return calls > 1


_call = nn.Module._wrapped_call_impl.__code__


def _in_backward() -> bool:
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def _copied(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, tuple) and hasattr(value, "_fields") and hasattr(value, "_replace"):
        return value._replace(**{name: _copied(getattr(value, name)) for name in value._fields})
    if isinstance(value, (tuple, list)):
        parts = [_copied(part) for part in value]
        return tuple(parts) if isinstance(value, tuple) else parts
    if isinstance(value, dict):
        # A ModelOutput is a dict with attributes: read here by its keys alone.
        return {key: _copied(part) for key, part in value.items()}
    return value
