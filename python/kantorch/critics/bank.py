"""Many critics evaluated and trained as a few: those that differ in numbers alone in one product."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from typing_extensions import Self


class CriticBank(nn.Module):
    """Named critics; those that differ in their parameters' values alone share stacked parameters.

    Critics of one group have the same modules of the same classes, with the same settings: every
    attribute that is neither parameter nor buffer is the same, in value or as an object. Those that
    are trained and those whose parameters are frozen are apart. Whether they are in training mode
    does not count: a group is in that of its first critic until `train` or `eval` is called. What a
    layer such as dropout draws is drawn for each critic.

    A step of ten small critics costs about as much as one of a single critic, since what takes the
    time is the number of operations. `parameters()` are the stacked ones, a few large tensors; any
    optimizer that works on each number alone, such as Adam, trains every critic as if it were
    alone.

    Args:
        critics: Modules by name, each of points (.., D) to values (..) and without buffers that
            change in a call (spectral normalisation has them). They are copied.

    Attributes:
        groups: Names of the critics that are computed together, a tuple for each group.

    Raises:
        ValueError: If there is no critic.

    Example:
        >>> import torch
        >>> from kantorch.critics import CriticBank, MinMaxTree
        >>> bank = CriticBank({"a": MinMaxTree(2), "b": MinMaxTree(3), "c": MinMaxTree(2)})
        >>> bank.groups
        (('a', 'c'), ('b',))
        >>> values = bank([torch.randn(2, 8, 2), torch.randn(1, 8, 3)])  # critics, points, D
        >>> [v.shape for v in values]
        [torch.Size([2, 8]), torch.Size([1, 8])]
    """

    def __init__(self, critics: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not critics:
            msg = "critics must hold at least one critic, got none"
            raise ValueError(msg)
        groups: list[list[str]] = []
        for name, critic in critics.items():
            for group in groups:
                if _differ_in_values_alone(critics[group[0]], critic):
                    group.append(name)
                    break
            else:
                groups.append([name])
        self.groups = tuple(map(tuple, groups))
        self._stacks = nn.ModuleList(_Stack([critics[n] for n in names]) for names in self.groups)

    def forward(self, points: Sequence[Tensor]) -> list[Tensor]:
        """Return for each group the values (critics, ..) at points (critics, .., D).

        Raises:
            ValueError: If the points are not one stack for each group and one set for each critic.
        """
        if len(points) != len(self.groups):
            msg = (
                f"points must hold a stack for each of {len(self.groups)} groups, got {len(points)}"
            )
            raise ValueError(msg)
        return [self.values(place, stack) for place, stack in enumerate(points)]

    def values(self, group: int, points: Tensor) -> Tensor:
        """Return for one group, by its place in `groups`, the values (critics, ..).

        Raises:
            ValueError: If the points (critics, .., D) are not one set for each critic.
        """
        names = self.groups[group]
        if points.ndim < 2 or len(points) != len(names):
            msg = (
                f"points of group {group} must have shape ({len(names)}, .., D), a set for each "
                f"critic, got {tuple(points.shape)}"
            )
            raise ValueError(msg)
        values: Tensor = self._stacks[group](points)
        return values

    def critic(self, name: str) -> nn.Module:
        """A copy of one critic as it is now.

        Raises:
            KeyError: If there is none of that name.
        """
        for names, stack in zip(self.groups, self._stacks, strict=True):
            if name in names:
                assert isinstance(stack, _Stack)
                return stack.critic(names.index(name))
        raise KeyError(name)

    def extra_repr(self) -> str:
        """Show the groups."""
        return f"groups={[len(names) for names in self.groups]}"


class _Stack(nn.Module):
    """Critics that differ in values alone, under `torch.vmap`."""

    def __init__(self, critics: Sequence[nn.Module]) -> None:
        super().__init__()
        self._skeleton = (copy.deepcopy(critics[0]),)  # a tuple hides it from nn.Module
        parameters = _stacked([dict(critic.named_parameters()) for critic in critics])
        buffers = _stacked([dict(critic.named_buffers()) for critic in critics])
        # By place: names of parameters have dots, which nn.Module does not allow.
        self._names = (*parameters, *buffers)
        self.weights = nn.ParameterList(
            nn.Parameter(parameters[name], requires_grad=parameter.requires_grad)
            for name, parameter in critics[0].named_parameters()
        )
        for place, value in enumerate(buffers.values()):
            self.register_buffer(f"buffer{place}", value)

    def _state(self) -> dict[str, Tensor]:
        count = len(self._names) - len(self.weights)
        values = (*self.weights, *(self.get_buffer(f"buffer{place}") for place in range(count)))
        return dict(zip(self._names, values, strict=True))

    def forward(self, points: Tensor) -> Tensor:
        """Apply each critic to its own points."""

        def one(state: dict[str, Tensor], x: Tensor) -> Any:
            return torch.func.functional_call(self._skeleton[0], state, (x,))

        values: Tensor = torch.vmap(one, randomness="different")(self._state(), points)
        return values

    def critic(self, place: int) -> nn.Module:
        """A critic of its own with the parameters of this place."""
        copied = copy.deepcopy(self._skeleton[0])
        own = dict(itertools.chain(copied.named_parameters(), copied.named_buffers()))
        for name, value in self._state().items():
            own[name].data = value[place].detach().clone()
            if own[name].is_leaf:
                own[name].requires_grad_(value.requires_grad)
        return copied

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the critics, too."""
        self._skeleton[0].train(mode)
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._skeleton[0]._apply(fn)  # type: ignore[no-untyped-call]
        applied: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return applied


def _stacked(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}


def _differ_in_values_alone(one: nn.Module, other: nn.Module) -> bool:
    """Whether two critics are one function of their parameters and buffers."""
    return _layout(one) == _layout(other) and all(
        _same(_settings(m), _settings(n))
        for (_, m), (_, n) in zip(_places(one), _places(other), strict=True)
    )


def _places(critic: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every place of a module, more than one where it is shared."""
    yield from critic.named_modules(remove_duplicate=False)


def _layout(critic: nn.Module) -> object:
    """The modules and their classes, and the tensors that are stacked."""
    # A parametrization gives each module a class of its own.
    modules = [
        (name, parametrize.type_before_parametrizations(module)) for name, module in _places(critic)
    ]
    tensors = [
        (name, value.shape, value.dtype, value.device, value.requires_grad)
        for name, value in itertools.chain(critic.named_parameters(), critic.named_buffers())
    ]
    return modules, tensors


_STACKED = ("_parameters", "_buffers", "_modules", "training")


def _settings(module: nn.Module) -> dict[str, object]:
    """What a module holds besides its tensors and modules."""
    # Hooks are kept under numbers that are never given twice.
    return {
        name: list(value.values()) if name.endswith("_hooks") and isinstance(value, dict) else value
        for name, value in vars(module).items()
        if name not in _STACKED
    }


def _same(one: Any, other: Any) -> bool:
    """Whether two settings are the same; where that cannot be told, they are not."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - of any class, such as an array's
        return False
