"""Wasserstein-1 distance between a network's kernels and those of source networks, layer by layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kantorch._check import require_at_least, require_finite, require_positive
from kantorch._solve import solve_sample
from kantorch.regularizers._parameters import require_strength
from kantorch.regularizers._regularizer import Regularizer
from kantorch.regularizers.kernel_critics import KernelCritics
from kantorch.regularizers.kernel_prior import KernelPrior, kernels, weight_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn
    from typing_extensions import Self

# Shares of the prior's mean distance above which an adaptive weight grows, and below which it falls.
_FAR, _NEAR = 0.5, 0.1
_LEAST, _MOST = 1e-3, 1e3  # and how far it goes, in its start


class FilterWasserstein(Regularizer):
    """alpha times the sum over layers of weight_j W1(q_j, p_j), between kernels as sets of points.

    q_j are the kernels of layer j of the model, p_j those that the prior pooled from source
    networks, both with equal weights. Unlike a distance between parameters, it lets a kernel take
    the place of any other: W1 is at most the mean distance between kernels of the same place.

    By default the distance is the exact one, without critics: its gradient moves every kernel along
    its optimal plan. With `critics` it is E_q f_j - E_p f_j for a critic f_j of each layer, as in
    the thesis; call `step` before each step of the network, so that they follow it:

        penalty.step()
        loss = cross_entropy(model(x), y) + penalty()

    Layers with more than `samples` kernels on a side are represented by as many of them, drawn anew
    in every call from torch's generator; kernels of one coordinate (1 x 1 convolutions by slices)
    are sorted, so all of them count. W1 between samples is on average larger than W1, the more so
    the fewer samples and the more coordinates there are. Critics see as many kernels of each layer,
    drawn with replacement.

    Args:
        model: The network that is trained. It is watched, not owned: it is no submodule.
        prior: Kernels of source networks; its layers are those that are penalised, and what a
            kernel is, slice or filter, stands in it. It moves with `.to` and is in the state_dict.
        alpha: Strength, finite and >= 0.
        layer_weights: A factor >= 0 for each layer, by name. "scale": the inverse of the mean
            distance between two kernels of the prior, so that layers with large and with small
            kernels count alike. "adaptive": begins there, and each `step` doubles the factor of a
            layer whose last W1 is above half that mean distance, and halves it below a tenth,
            within 1e-3 and 1e3 times the start; the thesis's code has such a rule for the output of
            a classifier, the thresholds are ours. None: 1 each.
        samples: Kernels that stand for a layer, on each side, at least 1. None: all, whatever it
            costs; not with critics.
        critics: Takes a number of coordinates and returns a critic, such as
            `kantorch.critics.MinMaxTree`. None: the exact distance. Critics are in the state_dict,
            but not among the parameters, which a network's optimizer minimises.
        critic_steps: Steps of each critic in a call of `step`, at least 1.
        critic_rate: The learning rate of their Adam, > 0.

    Returns:
        From a call, a scalar tensor. Inputs of the call are ignored.

    Raises:
        ValueError: If an argument is out of range, the model lacks a layer of the prior, or its
            kernels have another number of coordinates (both are named); from a call, if a weight
            is not finite (its layer is named).

    Source:
        The thesis on adversarial transfer, eq. 3.14, with the discrete W1 in place of critics;
        lemma 3.1 compares it with L2-SP.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import FilterWasserstein, KernelPrior
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3))
        >>> penalty = FilterWasserstein(model, KernelPrior.from_models([model]), alpha=1.0)
        >>> with torch.no_grad():
        ...     _ = model[0].weight.copy_(model[0].weight.flip(0) + 1)  # other places, and moved
        >>> round(penalty().item(), 5)  # sqrt(9): all nine coordinates by 1
        3.0
    """

    def __init__(
        self,
        model: nn.Module,
        prior: KernelPrior,
        *,
        alpha: float = 1e-3,
        layer_weights: Mapping[str, float] | str | None = None,
        samples: int | None = 512,
        critics: Callable[[int], nn.Module] | None = None,
        critic_steps: int = 10,
        critic_rate: float = 1e-3,
    ) -> None:
        super().__init__(alpha)
        if samples is not None:
            require_at_least("samples", samples, 1)
        if critics is not None and samples is None:
            msg = "samples must be an integer >= 1 with critics, got None"
            raise ValueError(msg)
        require_at_least("critic_steps", critic_steps, 1)
        require_positive("critic_rate", critic_rate)
        self.kernel = prior.kernel
        self.samples = samples
        self.layers = tuple(prior.samples)
        self._model = (model,)  # a tuple hides it from nn.Module
        for place, (name, points) in enumerate(prior.samples.items()):
            weight = weight_of(model, name, "the model")
            own = kernels(weight, self.kernel).shape[1]
            if own != points.shape[1]:
                msg = (
                    f"prior must have the model's kernels: in layer {name!r} they have "
                    f"{points.shape[1]} coordinates and {own} in the model"
                )
                raise ValueError(msg)
            # Names of layers have dots, which names of buffers may not.
            self.register_buffer(f"prior{place}", points.to(weight))
        self.adaptive = layer_weights == "adaptive"
        self.layer_weights = self._weights("scale" if self.adaptive else layer_weights)
        self._start = dict(self.layer_weights)
        self._distances: dict[str, Tensor] = {}
        self.critics: KernelCritics | None = None
        if critics is not None:
            self.critics = KernelCritics(
                self._priors(),
                critics,
                samples=samples or 0,
                steps=critic_steps,
                learning_rate=critic_rate,
            )

    def _weights(self, given: Mapping[str, float] | str | None) -> dict[str, float]:
        if given == "scale":
            spreads = {name: _mean_distance(points) for name, points in self._priors().items()}
            return {name: 1 / spread if spread > 0 else 1.0 for name, spread in spreads.items()}
        if isinstance(given, str):
            msg = f"layer_weights must be None, 'scale', 'adaptive' or a factor for each layer, got {given!r}"
            raise ValueError(msg)  # noqa: TRY004 - the house rule: only dtypes and non-tensors
        weights = dict.fromkeys(self.layers, 1.0) if given is None else dict(given)
        unknown = [name for name in weights if name not in self.layers]
        missing = [name for name in self.layers if name not in weights]
        if unknown or missing:
            msg = (
                f"layer_weights must name every layer of the prior, got {unknown or missing} "
                f"{'besides' if unknown else 'missing'}"
            )
            raise ValueError(msg)
        for name, weight in weights.items():
            require_strength(f"layer_weights[{name!r}]", weight)
        return weights

    def _priors(self) -> dict[str, Tensor]:
        return {name: self.get_buffer(f"prior{place}") for place, name in enumerate(self.layers)}

    def _kernels(self) -> dict[str, Tensor]:
        """The kernels of the model as it is now, checked."""
        found = {}
        for name in self.layers:
            weight = weight_of(self._model[0], name, "the model")
            _require_finite(name, weight)
            found[name] = kernels(weight, self.kernel)
        return found

    @property
    def distances(self) -> dict[str, Tensor]:
        """W1 of each layer in the last call, detached."""
        return dict(self._distances)

    def forward(self, *inputs: object, **named: object) -> Tensor:
        """Return alpha times the weighted sum of W1 for the weights as they are now."""
        own = self._kernels()
        prior = {name: points.to(own[name]) for name, points in self._priors().items()}
        if self.critics is None:
            values = _distances({n: (self._drawn(own[n]), self._drawn(prior[n])) for n in own})
        else:
            values = self.critics.distances(own, prior)
        self._distances = {name: value.detach() for name, value in values.items()}
        return self._total({name: v * self.layer_weights[name] for name, v in values.items()})

    def step(self) -> None:
        """Let the critics follow the model's weights as they are now, and adapt layer weights.

        Without critics and "adaptive" it does nothing, so that a loop may call it in any case.
        """
        if self.critics is not None:
            own = self._kernels()
            prior = {name: points.to(own[name]) for name, points in self._priors().items()}
            self._distances = self.critics.step(own, prior)
        if self.adaptive and self._distances:
            self._adapt()

    def _adapt(self) -> None:
        values = torch.stack([self._distances[name] for name in self.layers]).tolist()
        for name, value in zip(self.layers, values, strict=True):
            share = value * self._start[name]  # of the mean distance in the prior
            factor = 2.0 if share > _FAR else 0.5 if share < _NEAR else 1.0
            lowest, highest = self._start[name] * _LEAST, self._start[name] * _MOST
            wanted = self.layer_weights[name] * factor
            self.layer_weights[name] = min(max(wanted, lowest), highest)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        if self.critics is not None:
            self.critics.apply(fn)
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    def get_extra_state(self) -> dict[str, Any]:
        """What `state_dict` holds besides the prior: layer weights, what they adapt to, and critics."""
        critics = None if self.critics is None else self.critics.state_dict()
        return {
            "layer_weights": dict(self.layer_weights),
            "distances": dict(self._distances),
            "critics": critics,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: If only one of both has critics.
        """
        if (state["critics"] is None) != (self.critics is None):
            words = "has" if self.critics is None else "lacks"
            msg = f"state_dict must be of a regularizer like this one, but it {words} critics"
            raise ValueError(msg)
        self.layer_weights = dict(state["layer_weights"])
        self._distances = dict(state["distances"])
        if self.critics is not None:
            self.critics.load_state_dict(state["critics"])

    def _drawn(self, points: Tensor) -> Tensor:
        if self.samples is None or len(points) <= self.samples or points.shape[1] == 1:
            return points
        return points[torch.randperm(len(points), device=points.device)[: self.samples]]

    def extra_repr(self) -> str:
        """Show what a kernel is, the layers and the strength."""
        return f"kernel={self.kernel!r}, layers={list(self.layers)}, alpha={self.alpha}"


def _distances(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """W1 of each pair of point sets; those of the same shapes are solved as one batch."""
    groups: dict[object, list[str]] = {}
    for name, (x, y) in pairs.items():
        groups.setdefault((x.shape, y.shape, x.dtype, x.device), []).append(name)
    values: dict[str, Tensor] = {}
    for names in groups.values():
        x, y = (torch.stack([pairs[name][side] for name in names]) for side in (0, 1))
        if x.dtype in (torch.float16, torch.bfloat16):
            x, y = x.float(), y.float()
        solved = solve_sample(x, y, metric="euclidean")
        values.update(zip(names, solved.value.unbind(), strict=True))
    return {name: values[name] for name in pairs}


def _mean_distance(points: Tensor, most: int = 1024) -> float:
    """The mean distance between two different points, of at most so many."""
    if len(points) < 2:
        return 0.0
    spaced = points[:: math.ceil(len(points) / most)].double()
    return torch.pdist(spaced).mean().item()


def _require_finite(layer: str, weight: Tensor) -> None:
    if weight.detach().sum().isfinite():  # one pass; a sum that overflows is looked at again
        return
    require_finite(f"the weight of model layer {layer!r}", weight)
