"""The interface of every solver: fit, then potential, gradient and estimate."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from kantorch.w1._bounds import bounds
from kantorch.w1.estimate import Estimate
from kantorch.w1.sampler import Sampler, as_sampler

if TYPE_CHECKING:
    from typing_extensions import Self

Draw = Callable[[], tuple[Tensor, Tensor]]
"""Returns the next mini-batch (n, D) of P and of Q."""

_CHECKED = 100  # iterations between two looks at the loss: each would wait for a GPU


@dataclass(kw_only=True, eq=False)
class Solver(abc.ABC):
    """Estimates W1(P, Q) = max E_P f - E_Q f over 1-Lipschitz f, from samples.

    A solver is a dataclass of its settings. Everything random comes from generators of its own that
    start at `seed`: the same settings and samples give the same answer, and torch's generator is
    left as it was.

    Args:
        iterations: Steps of the potential.
        batch: Samples of each side in a step.
        seed: Of the first weights and of every draw.

    Raises:
        ValueError: If a setting is out of range.
    """

    name: ClassVar[str]
    """By which it is found in `solvers`."""

    iterations: int = 10_000
    batch: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        self._require("iterations", self.iterations >= 1, ">= 1")
        self._require("batch", self.batch >= 2, ">= 2")
        # Of fit, no rows: their number of coordinates and their dtype.
        self._like: Tensor | None = None

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            msg = f"{name} of solver {self.name!r} must be {rule}, got {getattr(self, name)!r}"
            raise ValueError(msg)

    @torch.inference_mode(mode=False)
    def fit(
        self,
        p: Sampler | Tensor,
        q: Sampler | Tensor,
        *,
        device: torch.device | str = "cpu",
        on_step: Callable[[int, Self], None] | None = None,
    ) -> Self:
        """Learn the potential from fresh samples of both sides, within `inference_mode` as well.

        Args:
            p: Sampler of P, or points (N, D) to draw from.
            q: Sampler of Q, likewise.
            device: Where samplers draw and networks are.
            on_step: Called after each iteration with its number, from 1, and this solver, which it
                may ask for estimates.

        Returns:
            The solver itself.

        Raises:
            ValueError: If the samples are no matrices of as many rows and columns on both sides.
            TypeError: If their dtypes differ, or are float16.
            FloatingPointError: If the loss is not finite any more.
        """
        p, q = as_sampler("p", p), as_sampler("q", q)
        # The seed decides the weights and, by streams of their own, what is drawn.
        self._generator = torch.Generator(device).manual_seed(self.seed)

        def draw() -> tuple[Tensor, Tensor]:
            x, y = p(self.batch, self._generator), q(self.batch, self._generator)
            if x.ndim != 2 or y.ndim != 2 or x.shape != y.shape:
                msg = (
                    "p and q must give points (n, D), as many and of as many coordinates, got "
                    f"{tuple(x.shape)} and {tuple(y.shape)}"
                )
                raise ValueError(msg)
            # No graph holds a tensor of inference.
            return x.clone() if x.is_inference() else x, y.clone() if y.is_inference() else y

        x, y = draw()
        if x.dtype != y.dtype:
            msg = f"p and q must give points of one dtype, got {x.dtype} and {y.dtype}"
            raise TypeError(msg)
        if x.dtype == torch.float16:
            msg = "p and q must give bfloat16, float32 or float64: Adam divides by 0 in float16"
            raise TypeError(msg)
        self._like = x[:0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._build(x, y)
        for iteration in range(1, self.iterations + 1):
            with torch.enable_grad():
                loss = self._step(draw)
            if (iteration % _CHECKED == 0 or iteration == self.iterations) and not loss.isfinite():
                msg = f"the loss of solver {self.name!r} is {loss.item()} at iteration {iteration}"
                raise FloatingPointError(msg)
            if on_step is not None:
                on_step(iteration, self)
        return self

    def potential(self, x: Tensor) -> Tensor:
        """The potential f (n,) at points (n, D), without a graph.

        Raises:
            RuntimeError: If the solver has not been fitted.
            ValueError: If the points have another number of coordinates.
            TypeError: If they have another dtype.
        """
        self._require_fitted(x)
        with torch.no_grad():
            return self._potential(x)

    @torch.inference_mode(mode=False)
    def gradient(self, x: Tensor) -> Tensor:
        """The gradient of f (n, D) at points (n, D), without a graph.

        Raises:
            RuntimeError: If the solver has not been fitted.
            ValueError: If the points have another number of coordinates.
            TypeError: If they have another dtype.
        """
        self._require_fitted(x)
        return self._gradient(x)

    def dual(self, x: Tensor, y: Tensor) -> float:
        """What the solver maximises, without penalties, on samples (n, D) of P and (m, D) of Q."""
        return (
            self.potential(x).mean(dtype=torch.float64)
            - self.potential(y).mean(dtype=torch.float64)
        ).item()

    def estimate(self, x: Tensor, y: Tensor) -> Estimate:
        """Estimate W1 from samples (n, D) of P and (m, D) of Q, best others than those of `fit`.

        Raises:
            RuntimeError: If the solver has not been fitted.
            ValueError: If the points have another number of coordinates, or there are fewer than
                two on a side.
            TypeError: If the points have another dtype.
        """
        f, g = self.potential(x).double(), self.potential(y).double()
        lower, upper = bounds(x, y)
        error = math.sqrt((f.var() / len(f) + g.var() / len(g)).item())
        return Estimate((f.mean() - g.mean()).item(), error, self.dual(x, y), lower, upper)

    def _require_fitted(self, x: Tensor) -> None:
        if self._like is None:
            msg = f"solver {self.name!r} has no potential before fit"
            raise RuntimeError(msg)
        if x.ndim != 2 or x.shape[1] != self._like.shape[1]:
            msg = f"x must have shape (n, {self._like.shape[1]}), got {tuple(x.shape)}"
            raise ValueError(msg)
        if x.dtype != self._like.dtype:
            msg = f"x must have the dtype {self._like.dtype} of the samples of fit, got {x.dtype}"
            raise TypeError(msg)

    @abc.abstractmethod
    def _build(self, x: Tensor, y: Tensor) -> None:
        """Make networks and optimizers, for samples like these."""

    @abc.abstractmethod
    def _step(self, draw: Draw) -> Tensor:
        """Take one iteration and return its loss ()."""

    @abc.abstractmethod
    def _potential(self, x: Tensor) -> Tensor:
        """The potential (n,), with a graph."""

    def _gradient(self, x: Tensor) -> Tensor:
        x = x.detach().clone().requires_grad_()  # a copy, as tensors of inference take no graph
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self._potential(x).sum(), x)
        return gradient
