"""One solver on one pair: what it estimates beside the truth, and how near its gradient is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from kantorch._solve import solve_sample
from kantorch.w1.pair import MonteCarlo, Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kantorch.w1.estimate import Estimate
    from kantorch.w1.solver import Solver


class GradientErrors(NamedTuple):
    """How near a solver's gradient is to the true one, over samples of P.

    Attributes:
        cosine: Mean cosine; 1 is exact.
        squared: Mean squared distance.
    """

    cosine: float
    squared: float


class Slopes(NamedTuple):
    """Mean norm of a solver's gradient, which should be 1 on the rays and at most 1 off them.

    Attributes:
        on_rays: At uniform places between the two ends of pairs of the optimal plan.
        off_rays: At uniform places between independent samples of P and Q.
    """

    on_rays: float
    off_rays: float


@dataclass(frozen=True)
class Outcome:
    """What `run` measures.

    Attributes:
        estimate: The solver's estimate with the bounds of lemma 3.5.
        truth: W1 of the pair.
        errors: Of the gradient.
        slopes: On and off the transport rays.
        history: (iteration, estimate of W1) as training went on.
    """

    estimate: Estimate
    truth: MonteCarlo
    errors: GradientErrors
    slopes: Slopes
    history: tuple[tuple[int, float], ...]


def run(
    solver: Solver,
    pair: Pair,
    *,
    samples: int = 4096,
    history: int = 0,
    device: torch.device | str = "cpu",
    on_step: Callable[[int, Solver], None] | None = None,
) -> Outcome:
    """Fit a solver to a pair and measure it on samples of its own.

    Args:
        solver: It is fitted here.
        pair: What it is fitted to.
        samples: Of each side, for the estimate, the bounds and the gradient.
        history: Iterations between two entries of the outcome's history. 0: no history.
        device: See `Solver.fit`.
        on_step: See `Solver.fit`.

    Raises:
        ValueError: If `samples` or `history` is out of range.

    >>> from kantorch.w1 import FunnelPair, make_solver
    >>> solver = make_solver("lp", iterations=3, batch=16)
    >>> outcome = run(solver, FunnelPair.published(2, 4), samples=64, history=1)
    >>> len(outcome.history)
    3
    """
    for name, value, least in (("samples", samples, 2), ("history", history, 0)):
        if value < least:
            msg = f"{name} must be >= {least}, got {value}"
            raise ValueError(msg)
    # The solver's own draws start at its seed; these are others.
    generator = torch.Generator(device).manual_seed(solver.seed + 1_000_003)
    x, y = pair.p(samples, generator), pair.q(samples, generator)
    entries: list[tuple[int, float]] = []

    def step(iteration: int, fitted: Solver) -> None:
        if history and iteration % history == 0:
            value = fitted.potential(x).mean() - fitted.potential(y).mean()
            entries.append((iteration, value.item()))
        if on_step is not None:
            on_step(iteration, fitted)

    solver.fit(pair.p, pair.q, device=device, on_step=step)
    return Outcome(
        solver.estimate(x, y),
        pair.w1(),
        gradient_errors(solver, pair, x),
        ray_slopes(solver, pair, samples, generator),
        tuple(entries),
    )


def gradient_errors(solver: Solver, pair: Pair, x: Tensor) -> GradientErrors:
    """Compare gradients at samples (n, D) of P."""
    ours, true = solver.gradient(x), pair.gradient(x)
    cosine = torch.nn.functional.cosine_similarity(ours, true, dim=1)
    return GradientErrors(cosine.mean().item(), (ours - true).square().sum(1).mean().item())


def ray_slopes(solver: Solver, pair: Pair, n: int, generator: torch.Generator) -> Slopes:
    """Measure a solver's slopes on and off the transport rays, at n places each."""
    x, y = pair.plan(n, generator)
    place = torch.rand(n, 1, generator=generator, device=generator.device)
    on, off = (
        torch.linalg.vector_norm(solver.gradient(torch.lerp(x, other, place)), dim=1).mean().item()
        for other in (y, pair.q(n, generator))
    )
    return Slopes(on, off)


def batch_estimates(
    pair: Pair, sizes: Sequence[int], *, repeats: int = 4, seed: int = 0
) -> dict[int, MonteCarlo]:
    """Exact W1 between mini-batches, by their size: it falls with the size, towards W1.

    Args:
        pair: What is drawn from.
        sizes: Samples of each side in a batch.
        repeats: Batches of each size, at least 2.
        seed: Of the draws.

    >>> from kantorch.w1 import FunnelPair
    >>> of_size = batch_estimates(FunnelPair.published(8, 4), (16, 256))
    >>> of_size[16].value > of_size[256].value > 1.882  # the truth
    True
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for size in sizes:
        x, y = (
            torch.stack([draw(size, generator) for _ in range(repeats)])
            for draw in (pair.p, pair.q)
        )
        values = solve_sample(x, y, metric="euclidean").check().value.double()
        error = values.std().item() / repeats**0.5
        found[size] = MonteCarlo(values.mean().item(), error)
    return found
