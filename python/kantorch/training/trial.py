"""Trials: what a study does once each, and keeps a record of."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Params = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Trial:
    """One piece of work, which depends on nothing but the settings and what is written here.

    Attributes:
        stage: The name of its stage.
        method: What is compared; empty in a stage that compares nothing.
        params: The point of the method's grid, by name and in order.
        seed: Draws everything that is drawn.
    """

    stage: str
    method: str = ""
    params: Params = ()
    seed: int = 0

    @property
    def label(self) -> str:
        """The trial's name within its stage; empty for the one trial of a stage without methods."""
        if not self.method:
            return ""
        # All digits: parameters that differ may not share a folder.
        point = "".join(f"-{name}{float(value)!r}" for name, value in self.params)
        return f"{self.method}{point}-seed{self.seed}"

    @property
    def name(self) -> str:
        """The trial's folder, below `trials`."""
        return f"{self.stage}/{self.label}" if self.label else self.stage


@dataclass(frozen=True)
class Stage:
    """Trials that need nothing of each other, only the stages before.

    Attributes:
        name: Its folder, below `trials`.
        trials: What is to be done.
        compared: Whether it is the one whose methods are compared: their parameters are chosen by
            the trials' scores, and the chosen trials are tested.
        may_fail: Whether a trial that diverges is kept as one that failed, instead of ending the
            study; nothing may need it. A compared stage always may.
    """

    name: str
    trials: tuple[Trial, ...]
    compared: bool = False
    may_fail: bool = False

    @property
    def tolerant(self) -> bool:
        """Whether the study outlives a trial that diverges."""
        return self.compared or self.may_fail


def grid_points(grid: Mapping[str, Sequence[float]]) -> list[Params]:
    """Every combination of a grid's values, the smallest first."""
    names = sorted(grid)
    columns = [sorted(grid[name]) for name in names]
    return [tuple(zip(names, point, strict=True)) for point in itertools.product(*columns)]


def grid_trials(
    stage: str, grids: Mapping[str, Mapping[str, Sequence[float]]], seeds: Iterable[int]
) -> tuple[Trial, ...]:
    """Every method at every point of its grid, seed by seed, so that early results cover all."""
    return tuple(
        Trial(stage, method, point, seed)
        for seed in seeds
        for method, grid in grids.items()
        for point in grid_points(grid)
    )
