"""One forward pass of the student, one of its teacher, for every penalty that looks at them."""

from __future__ import annotations

import copy
import itertools
import weakref
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from kantorch._check import require_choice
from kantorch.regularizers._hooks import Catch, Hook, Passes, versions
from kantorch.regularizers.layer import Layer, module_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch.utils.hooks import RemovableHandle
    from typing_extensions import Self

TeacherMode = Literal["eval", "batch"]

_readers = itertools.count()


class Watch(nn.Module):
    """Keeps what chosen layers of a student compute, and runs a frozen teacher on the same inputs.

    Every regularizer that looks at activations makes one of its own, unless it is given one: then
    several share it, and student and teacher run once for all of them::

        watch = Watch(student, teacher)
        penalty = Sum(
            RepresentationTransport(watch, layers=["features"], alpha=0.1),
            KnowledgeDistillation(watch, temperature=4.0),
        )
        loss = cross_entropy(student(x), y) + penalty()

    What counts is the student's last forward pass, labelled or not: its inputs are remembered, and
    the teacher is called with the same when the first penalty asks (an argument `labels`, which
    networks that compute their own loss take, is left out). Activations are copies, kept until each
    penalty that reads them has been called once.

    Args:
        student: The network that is trained. It is watched, not owned: it is no submodule. Under
            DistributedDataParallel, the wrapped network's `module`.
        teacher: The reference, if a penalty needs one. It is a submodule, is frozen (its parameters
            stop requiring gradients), and moves to the student's device when it first runs. It must
            share no parameter, buffer or module with the student.
        teacher_transform: Is called with what the student was called with, and returns what the
            teacher is called with: a tuple of arguments, a mapping of named ones, or one argument.
        teacher_mode: "eval": evaluation mode. "batch": its batch normalisation takes the statistics
            of the batch, as that of a student in training mode does, and leaves its own untouched;
            without it, a penalty on two equal networks with batch normalisation is not 0.
        teacher_dtype: torch.bfloat16 or torch.float16: the teacher runs under autocast to it, which
            takes a fraction of the time where the device multiplies in it, and changes its
            activations by what that dtype rounds. None: as it is.

    Raises:
        ValueError: If student and teacher share a part, or an option is out of range.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import Watch
        >>> Watch(torch.nn.Linear(2, 2)).teacher is None
        True
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None = None,
        *,
        teacher_transform: Callable[..., Any] | None = None,
        teacher_mode: TeacherMode = "eval",
        teacher_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        require_choice("teacher_mode", teacher_mode, get_args(TeacherMode))
        if teacher_dtype not in (None, torch.bfloat16, torch.float16):
            msg = f"teacher_dtype must be torch.bfloat16, torch.float16 or None, got {teacher_dtype!r}"
            raise ValueError(msg)
        self.teacher_transform = teacher_transform
        self.teacher_mode: TeacherMode = teacher_mode
        self.teacher_dtype = teacher_dtype
        self._student = _Watched(student, "student")
        self.teacher = teacher
        self._teacher: _Watched | None = None
        if teacher is not None:
            _require_apart(student, teacher)
            teacher.requires_grad_(requires_grad=False)
            self._teacher = _Watched(teacher, "teacher")
            self._set_teacher_mode()
        self._teacher_pass: tuple[list[None], list[None]] = [], []
        self.register_load_state_dict_post_hook(_check_fingerprint)  # type: ignore[no-untyped-call]

    @classmethod
    def of(
        cls, student: nn.Module | Watch, teacher: nn.Module | None, *, copied: bool, **options: Any
    ) -> Watch:
        """The watch a regularizer was given, or its own; `copied`: the teacher may be a copy.

        Raises:
            ValueError: If a teacher or options stand beside a watch, or it has no teacher where one
                is needed.
        """
        if not isinstance(student, Watch):
            if teacher is None and copied:
                teacher = copy.deepcopy(student)
            return cls(student, teacher, **options)
        given = {"teacher": teacher} | options
        for name, value in given.items():
            if value not in (None, "eval"):
                msg = f"{name} must be given to the Watch, not beside it"
                raise ValueError(msg)
        if student.teacher is None and copied:
            msg = "the Watch must have a teacher for this penalty, got none"
            raise ValueError(msg)
        return student

    @property
    def student(self) -> nn.Module:
        """The network that is watched."""
        return self._student.network

    def reader(self, layers: Sequence[Layer], *, teacher: bool) -> int:
        """Promise a penalty the activations of these layers after each pass of the student."""
        reader = next(_readers)
        for layer in layers:
            self._student.promise(layer.name, layer.of, reader)
            if teacher and self._teacher is not None:
                self._teacher.promise(layer.teacher_name, layer.of, reader)
        return reader

    def take(
        self,
        reader: int,
        layers: Sequence[Layer],
        inputs: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
        *,
        teacher: bool,
    ) -> list[tuple[Tensor, Tensor | None]]:
        """The activations of each layer in student and teacher, each pass once.

        Args:
            reader: What `reader` returned.
            layers: The layers it was asked for.
            inputs: What the student was called with. Empty: what it was called with last.
            named: Likewise, by keyword.
            teacher: Whether the teacher's are asked for, too.

        Raises:
            RuntimeError: If the student has not run since the last call, or its activations have no
                graph although gradients are on now.
            ValueError: If the student ran last on other inputs.
            TypeError: If a layer has no tensor, see `Layer`, or student and teacher differ in dtype and
                the teacher cannot take the student's inputs.
        """
        graph = torch.is_grad_enabled()
        called = self._student.called(inputs, dict(named or {}))
        found = []
        for layer in layers:
            value, grad_enabled = self._student.take(layer.name, layer.of, reader)
            features = layer.activations(value, "student", layer.name)
            if graph:
                _require_graph(layer.name, features, grad_enabled=grad_enabled)
            found.append(features)
        if not teacher:
            return [(features, None) for features in found]
        return list(
            zip(found, self._teacher_features(reader, layers, found[0], called), strict=True)
        )

    def _teacher_features(
        self,
        reader: int,
        layers: Sequence[Layer],
        beside: Tensor,
        called: tuple[tuple[Any, ...], dict[str, Any]] | None,
    ) -> Iterable[Tensor]:
        network = self._teacher
        if network is None or self.teacher is None:
            msg = "the Watch must have a teacher for this penalty, got none"
            raise ValueError(msg)
        places = [(layer.teacher_name, layer.of) for layer in layers]
        known = all(x is y for x, y in zip(self._teacher_pass, self._passes(), strict=True))
        if not known or not network.holds(places, reader):
            if called is None:
                msg = (
                    "the student's inputs are not known, as only parts of it were called: call the "
                    "regularizer with what the teacher is to be called with"
                )
                raise RuntimeError(msg)
            self._run_teacher(self.teacher, *called, device=beside.device)
            self._teacher_pass = self._passes()
        for layer, (name, side) in zip(layers, places, strict=True):
            value, _ = network.take(name, side, reader)
            yield layer.activations(value, "teacher", name).detach()

    def _passes(self) -> tuple[list[None], list[None]]:
        """The last ones of student and teacher, which others may run, too."""
        assert self._teacher is not None
        return self._student.passes.last, self._teacher.passes.last

    def _run_teacher(
        self,
        teacher: nn.Module,
        inputs: tuple[Any, ...],
        named: dict[str, Any],
        *,
        device: torch.device,
    ) -> None:
        state = next(itertools.chain(teacher.parameters(), teacher.buffers()), None)
        if state is not None and state.device != device:
            teacher.to(device)
        self._set_teacher_mode()  # somebody else who owns the teacher may have switched it
        if self.teacher_transform is not None:
            changed = self.teacher_transform(*inputs, **named)
            inputs, named = (), {}
            if isinstance(changed, dict):
                named = changed
            else:
                inputs = changed if isinstance(changed, tuple) else (changed,)
        named = {name: value for name, value in named.items() if name != "labels"}
        reduced: AbstractContextManager[object] = nullcontext()
        if self.teacher_dtype is not None:
            reduced = torch.autocast(device.type, self.teacher_dtype)
        mode: AbstractContextManager[None] = (
            _batch_statistics(teacher) if self.teacher_mode == "batch" else nullcontext()
        )
        try:
            with torch.no_grad(), reduced, mode, _parametrizations_not_cached():
                teacher(*inputs, **named)
        except RuntimeError as error:
            ours, theirs = (_dtype(network) for network in (self.student, teacher))
            if ours == theirs or isinstance(error, torch.OutOfMemoryError):
                raise
            msg = (
                f"the teacher must take what the student takes, but the student is {ours} and the "
                f"teacher {theirs}: move the regularizer with the student, as by .to({ours}), or "
                "give teacher_transform"
            )
            raise TypeError(msg) from error

    def _set_teacher_mode(self) -> None:
        if self.teacher is not None:
            self.teacher.eval()

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the watch; the teacher keeps its own."""
        super().train(mode)
        self._set_teacher_mode()
        return self

    def close(self) -> None:
        """Remove the hooks and forget the activations; the watch is then unusable."""
        for network in (self._student, self._teacher):
            if network is not None:
                network.close()

    def get_extra_state(self) -> dict[str, Any]:
        """A fingerprint of the teacher, by which a checkpoint without it is found out."""
        return {"teacher": None if self.teacher is None else _fingerprint(self.teacher)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Keep the fingerprint until the teacher is loaded, too."""
        self._expected = state["teacher"]


@contextmanager
def _batch_statistics(network: nn.Module) -> Iterator[None]:
    """Normalise by the batch for a while: in training mode without tracking, no statistics are read or written."""
    normalisations = [
        m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    tracking = [module.track_running_stats for module in normalisations]
    try:
        for module in normalisations:
            module.track_running_stats = False
            module.train()
        yield
    finally:
        for module, tracks in zip(normalisations, tracking, strict=True):
            module.track_running_stats = tracks
            module.eval()


@contextmanager
def _parametrizations_not_cached() -> Iterator[None]:
    """Within `parametrize.cached()` torch takes a copied module for the one that it is a copy of."""
    enabled, parametrize._cache_enabled = parametrize._cache_enabled, 0
    try:
        yield
    finally:
        parametrize._cache_enabled = enabled


class _Watched:
    """One network with hooks on it, which leave it when this goes.

    Copied or pickled together with the network, it watches the copy.
    """

    def __init__(self, network: nn.Module, owner: str) -> None:
        self.network = network
        self.owner = owner
        self.catches: dict[tuple[str, str], Catch] = {}
        self._attach()

    def _attach(self) -> None:
        self.passes = Passes(weakref.ref(self.network), self.catches)
        self.closed = False
        self._handles: list[RemovableHandle] = [
            Hook(self.passes.begin).before(self.network, first=True),
            Hook(self.passes.end).finally_(self.network),
        ]
        weakref.finalize(self, _remove, self._handles).atexit = False
        for name, side in self.catches:
            self._hook(name, side)

    def _hook(self, name: str, side: str) -> None:
        module, catch = module_of(self.network, name, self.owner), self.catches[name, side]
        if module is not self.network:
            catch.counts = self.passes.part
        if side == "input":
            self._handles.append(Hook(catch.taken_in).before(module))
        else:
            self._handles.append(Hook(catch.returned).after(module))

    def promise(self, name: str, side: str, reader: int) -> None:
        if (name, side) not in self.catches:
            module_of(self.network, name, self.owner)
            self.catches[name, side] = Catch()
            self._hook(name, side)
        self.catches[name, side].readers.add(reader)

    def holds(self, places: Sequence[tuple[str, str]], reader: int) -> bool:
        return all(reader in self.catches[place].waiting for place in places)

    def take(self, name: str, side: str, reader: int) -> tuple[object, bool]:
        if self.closed:
            msg = f"the hooks on the {self.owner} were removed by close()"
            raise RuntimeError(msg)
        taken = self.catches[name, side].take(reader)
        if taken is None:
            msg = (
                f"no activation of {self.owner} layer {name!r} was captured since the last "
                f"call: run the {self.owner} on the batch before the regularizer, and, if it was "
                "compiled and ran before the regularizer was made, call torch.compiler.reset() first"
            )
            raise RuntimeError(msg)
        if not any(catch.waiting for catch in self.catches.values()):
            self.passes.inputs = None
        return taken

    def called(
        self, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """What the network was called with last, checked against what it is said to be."""
        last = self.passes.inputs
        if last is None:
            return (inputs, named) if inputs or named else None
        changed = bool(self.passes.versions) and self.passes.versions != versions(last)
        if (inputs or named) and not changed:
            given = {id(leaf) for leaf in tree_leaves((inputs, named))}
            ours, others = (
                [x for x in leaves if isinstance(x, Tensor)]
                for leaves in (tree_leaves(last), tree_leaves((inputs, named)))
            )
            same = not ours or not others or id(ours[0]) in given or _equal(ours[0], others[0])
            if not same:
                msg = (
                    "the student's last batch must be the regularizer's: it ran on an input of "
                    f"shape {tuple(ours[0].shape)}, and the regularizer was called with one of "
                    f"shape {tuple(others[0].shape)}, or with other values"
                )
                raise ValueError(msg)
            return inputs, named
        if changed:
            read = {id(leaf) for leaf in tree_leaves(last) if isinstance(leaf, Tensor)}
            if (inputs or named) and not any(id(x) in read for x in tree_leaves((inputs, named))):
                return inputs, named
            msg = (
                f"an input of the {self.owner} was changed in place after it had been read: call "
                "the regularizer with what the teacher is to be called with, a copy from before"
            )
            raise RuntimeError(msg)
        return last

    def close(self) -> None:
        _remove(self._handles)
        self.closed = True
        self.passes.inputs = None
        for catch in self.catches.values():
            catch.forget()

    def __getstate__(self) -> dict[str, Any]:
        # Activations have a graph, which cannot be copied; readers are promised theirs again.
        readers = {place: catch.readers for place, catch in self.catches.items()}
        return {"network": self.network, "owner": self.owner, "closed": self.closed} | {
            "readers": readers
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.network, self.owner = state["network"], state["owner"]
        self.catches = {place: Catch() for place in state["readers"]}
        for place, readers in state["readers"].items():
            self.catches[place].readers = set(readers)
        self._attach()
        if state["closed"]:
            self.close()


def _dtype(network: nn.Module) -> torch.dtype | None:
    """The dtype of its first floating parameter or buffer."""
    state = itertools.chain(network.parameters(), network.buffers())
    return next((value.dtype for value in state if value.is_floating_point()), None)


def _remove(handles: Sequence[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()


def _equal(x: Tensor, y: Tensor) -> bool:
    return x.shape == y.shape and x.device == y.device and torch.equal(x, y)


def _require_graph(name: str, features: Tensor, *, grad_enabled: bool) -> None:
    if features.requires_grad:
        return
    if grad_enabled:
        cause = "has no trainable parameter before it, or its result was detached"
        cure = "capture a layer that is trained, or call the regularizer under no_grad"
    else:
        cause = "ran without gradients (no_grad, inference_mode or a reentrant checkpoint)"
        cure = "run it with gradients, or call the regularizer under no_grad too"
    msg = f"student layer {name!r} {cause}, so the penalty could not train it: {cure}"
    raise RuntimeError(msg)


def _fingerprint(network: nn.Module) -> dict[str, Any]:
    """Names of the state, and of each tensor the mean size of some of its numbers."""
    state = {name: value for name, value in network.state_dict().items() if _is_number(value)}
    sizes = [
        _sample(value).abs().mean() if value.numel() else value.new_zeros(())
        for value in state.values()
    ]
    means = (
        torch.stack([size.double().cpu() for size in sizes])
        if sizes
        else torch.zeros(0, device="cpu")
    )
    return {"names": list(state), "means": means}


def _is_number(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta


def _sample(value: Tensor, most: int = 4096) -> Tensor:
    flat = value.detach().flatten()
    return flat[:: max(1, flat.numel() // most)].float()


def _check_fingerprint(watch: Watch, incompatible: Any) -> None:
    expected = watch.__dict__.pop("_expected", None)
    if expected is None or watch.teacher is None:
        return
    found = _fingerprint(watch.teacher)
    # Room for a teacher that was made half precision.
    same = found["names"] == expected["names"] and torch.allclose(
        found["means"], expected["means"], rtol=1e-2, atol=1e-30
    )
    if not same:
        msg = (
            "the teacher must be the one that the state was saved with, got other weights: load "
            "the state with its teacher, or make the regularizer with that teacher"
        )
        raise ValueError(msg)


def _require_apart(student: nn.Module, teacher: nn.Module) -> None:
    """Freezing what is shared would stop the student's training, and `.eval()` its dropout."""
    for kind, of in _PARTS.items():
        own = {id(part) for _, part in of(student)}
        shared = [name for name, part in of(teacher) if id(part) in own]
        if shared:
            msg = (
                f"teacher must share no {kind} with the student, got {shared[0]!r}; "
                "pass copy.deepcopy(student), or None"
            )
            raise ValueError(msg)


_PARTS: dict[str, Callable[[nn.Module], Iterable[tuple[str, object]]]] = {
    "parameter": nn.Module.named_parameters,
    "buffer": nn.Module.named_buffers,
    "module": nn.Module.named_modules,
}
