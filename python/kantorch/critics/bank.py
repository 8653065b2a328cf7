"""Many critics evaluated and trained as a few: those of the same shapes in one product."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CriticBank(nn.Module):
    """Named critics; those whose parameters agree in shape share stacked parameters.

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
        shapes: dict[object, list[str]] = {}
        for name, critic in critics.items():
            shapes.setdefault(_shape(critic), []).append(name)
        self.groups = tuple(map(tuple, shapes.values()))
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
    """Critics of the same shapes under `torch.vmap`."""

    def __init__(self, critics: Sequence[nn.Module]) -> None:
        super().__init__()
        self._skeleton = (copy.deepcopy(critics[0]),)  # a tuple hides it from nn.Module
        parameters, buffers = torch.func.stack_module_state(list(critics))
        # By place: names of parameters have dots, which nn.Module does not allow.
        self._names = (*parameters, *buffers)
        self.weights = nn.ParameterList(parameters.values())
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

        values: Tensor = torch.vmap(one)(self._state(), points)
        return values

    def critic(self, place: int) -> nn.Module:
        """A critic of its own with the parameters of this place."""
        copied = copy.deepcopy(self._skeleton[0])
        state = {name: value[place].detach().clone() for name, value in self._state().items()}
        copied.load_state_dict(state)
        return copied


def _shape(critic: nn.Module) -> object:
    """What two critics must share to be computed together: the layers and all shapes."""
    tensors = tuple((n, v.shape, v.dtype, v.device) for n, v in critic.state_dict().items())
    return repr(critic), tensors
