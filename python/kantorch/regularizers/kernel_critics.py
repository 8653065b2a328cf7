"""Critics between the kernels of a network and those of a prior, one for each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kantorch._check import computed
from kantorch.critics import CriticBank, MinMaxTree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class KernelCritics:
    """For each layer a critic f that ascends E_q f - E_p f, all layers together.

    Layers whose kernels have as many coordinates are computed as one, see `CriticBank`. It is no
    module: the critics' parameters are maximised and must not join the network's optimizer.

    Args:
        prior: Kernels (N, coordinates) of each layer.
        make: Takes a number of coordinates, returns a critic of points (.., coordinates) with
            values (..). A `MinMaxTree` is anchored at the prior.
        samples: Kernels of each side and layer in a step, drawn with replacement.
        steps: Of each critic in a call of `step`.
        learning_rate: Of Adam.

    Raises:
        ValueError: If a critic's values have another shape; its layer is named.
    """

    def __init__(
        self,
        prior: Mapping[str, Tensor],
        make: Callable[[int], nn.Module],
        *,
        samples: int,
        steps: int,
        learning_rate: float,
    ) -> None:
        self.samples, self.steps = samples, steps
        critics = {}
        for name, points in prior.items():
            critic = critics[name] = make(points.shape[1]).to(computed(points))
            if isinstance(critic, MinMaxTree):  # kernels are small, and so must be the biases
                critic.anchor(computed(points))
            with torch.no_grad():
                shape = tuple(critic(computed(points[:1])).shape)
            if shape != (1,):
                msg = (
                    "critics must make modules of points (n, coordinates) with values (n,), but for "
                    f"layer {name!r} values of one point have shape {shape}"
                )
                raise ValueError(msg)
        self._bank = CriticBank(critics)
        self._optimizer = torch.optim.Adam(self._bank.parameters(), lr=learning_rate, fused=True)

    def step(self, kernels: Mapping[str, Tensor], prior: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the steps for these kernels and return E_q f - E_p f of each layer in the last one."""
        with torch.inference_mode(mode=False), torch.enable_grad():
            drawn = [
                self._drawn([(kernels[n].detach(), prior[n]) for n in names], self.steps)
                for names in self._bank.groups
            ]
            for turn in range(self.steps):
                rises = [self._rise(group, points[turn]) for group, points in enumerate(drawn)]
                self._optimizer.zero_grad()
                torch.autograd.backward(-torch.cat(rises).sum())
                self._optimizer.step()
        return self._named([rise.detach() for rise in rises])

    def distances(
        self, kernels: Mapping[str, Tensor], prior: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """E_q f - E_p f of each layer on kernels drawn anew, differentiable in `kernels` alone."""
        trained = [p for p in self._bank.parameters() if p.requires_grad]
        self._bank.requires_grad_(False)
        try:
            rises = [
                self._rise(group, self._drawn([(kernels[n], prior[n]) for n in names], 1)[0])
                for group, names in enumerate(self._bank.groups)
            ]
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
        return self._named(rises)

    def _rise(self, group: int, points: Tensor) -> Tensor:
        """E_q f - E_p f (layers,) for points (layers, q's and then p's, coordinates)."""
        values = self._bank.values(group, points)
        return values[:, : self.samples].mean(1) - values[:, self.samples :].mean(1)

    def _drawn(self, layers: Sequence[tuple[Tensor, Tensor]], turns: int) -> Tensor:
        """Kernels of both sides of each layer (turns, layers, 2 * samples, coordinates), as critics take them."""
        # One look at each side of a layer for all turns.
        dtype = next(self._bank.parameters()).dtype
        sides = [
            points.to(dtype).index_select(
                0, torch.randint(len(points), (turns * self.samples,), device=points.device)
            )
            for layer in layers
            for points in layer
        ]
        shape = turns, self.samples, -1
        return torch.cat([side.reshape(shape) for side in sides], 1).reshape(
            turns, len(layers), 2 * self.samples, -1
        )

    def _named(self, rises: list[Tensor]) -> dict[str, Tensor]:
        return {
            name: value
            for names, values in zip(self._bank.groups, rises, strict=True)
            for name, value in zip(names, values.unbind(), strict=True)
        }

    def critic(self, layer: str) -> nn.Module:
        """A copy of a layer's critic as it is now."""
        return self._bank.critic(layer)

    def apply(self, move: Callable[[Tensor], Tensor]) -> None:
        """What `nn.Module.to` does to a module, but for half precision, in which critics do not learn."""

        def move_only(tensor: Tensor) -> Tensor:
            moved = move(tensor)
            return moved if computed(moved) is moved else tensor.to(moved.device)

        self._bank._apply(move_only)  # type: ignore[no-untyped-call]
        # Loading its own state takes the moments where the parameters are now.
        self._optimizer.load_state_dict(self._optimizer.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """The critics and their optimizer."""
        return {"bank": self._bank.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._bank.load_state_dict(state["bank"])
        self._optimizer.load_state_dict(state["optimizer"])
