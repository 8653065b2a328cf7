"""`kantorch w1`: continuous solvers of W1 beside the truth."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import BeforeValidator, Field, field_validator

from kantorch.drivers._command import command_of
from kantorch.training.driver import Driver
from kantorch.training.errors import ConfigError, NonFiniteError
from kantorch.training.records import is_number
from kantorch.training.results import markdown
from kantorch.training.settings import Count, Index, Settings
from kantorch.training.trial import Stage, Trial
from kantorch.w1 import FunnelPair, NetworkPair, batch_estimates, make_solver, run, solvers
from kantorch.w1.published import COSINES, ESTIMATES, SOLVER_DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kantorch.training._matplotlib import Figure
    from kantorch.training.driver import Place
    from kantorch.training.results import Results
    from kantorch.w1 import Pair, Solver

SOLVERS, BATCHES = "solvers", "batches"
ORDER = ("clip", "gp", "lp", "sn", "so", "ls", "mmb", "mm", "mmr", "tree", "discrete")
NUMBERS = (
    "estimate",
    "standard_error",
    "dual",
    "lower",
    "upper",
    "truth",
    "truth_error",
    "cosine",
    "squared",
    "on_rays",
    "off_rays",
)
SURFACES = "surfaces.png"
GRID = 41  # places on each axis of a surface
TOLD = 40  # points of a curve


def _number(value: Any) -> Any:
    """A number that a command line gives as text."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


Counts = Annotated[tuple[Count, ...], Field(strict=False, min_length=1)]


class W1Settings(Settings):
    """Settings of `kantorch w1`."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {},
        "full": {"budget": 1.0, "batch": 1024, "dimensions": SOLVER_DIMENSIONS},
        "thesis": {"pair": "network", "dimensions": (2, 4, 16)},
    }

    solvers: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ORDER
    """Which to compare."""
    pair: Literal["funnels", "network"] = "funnels"
    """P and Q: published funnels, Q uniform on a box; or a Gaussian P that moves along the gradient of
    a random 1-Lipschitz network."""
    funnels: Annotated[Literal[4, 16, 64, 256], BeforeValidator(_number)] = 4
    """Of the published pair."""
    dimensions: Counts = (2, 8)
    """Numbers of coordinates; of published pairs 2, 4, 8, 16, 32, 64 and 128."""
    budget: Annotated[float, Field(gt=0, le=1)] = 0.03
    """Share of each solver's iterations in the full protocol, which are 5000 to 60 000."""
    batch: Annotated[int, Field(ge=2)] = 256
    """Samples of each side in an iteration."""
    samples: Annotated[int, Field(ge=2)] = 4096
    """Samples of each side that a solver is judged by."""
    batch_sizes: Counts = (64, 256, 1024, 4096)
    """Sizes of mini-batches whose exact W1 is shown beside the truth."""
    seeds: Count = 1
    """Trials of each solver: they draw its first weights and its samples."""
    first_seed: Index = 0
    """The lowest of the seeds, which follow each other."""

    @field_validator("solvers")
    @classmethod
    def _know(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = solvers()
        if not set(names) <= set(known) or len(set(names)) < len(names):
            msg = f"must hold different names of {', '.join(known)}"
            raise ValueError(msg)
        return names


class W1(Driver[W1Settings]):
    """Estimate W1 by continuous solvers, on pairs whose W1 is known.

    Every solver learns a potential from samples of P and Q, and is judged by its estimate, which lies
    between bounds from the samples, and by how near its gradient is to the true one. The default is
    quick; --preset full takes the published protocol, and hours. Writes config.yaml, metrics.csv, estimates.csv, report.md and pictures: convergence, slopes on and
    off the transport rays, potentials in two dimensions, exact W1 between mini-batches, and samples.

    Source: Korotin, Kolesov, Burnaev: Kantorovich strikes back!, 2022, sections 4 and 5.
    """

    name: ClassVar[str] = "w1"
    settings_type = W1Settings
    unit: ClassVar[str] = "iteration"
    pictures: ClassVar[tuple[str, ...]] = (
        "convergence.png",
        "slopes.png",
        SURFACES,
        "batches.png",
        "samples.png",
        "estimates.csv",
    )

    def stages(self) -> Sequence[Stage]:
        """Every solver on every pair, and exact W1 between mini-batches."""
        s = self.settings
        fits = tuple(
            Trial(SOLVERS, name, (("dimension", d),), seed)
            for seed in range(s.first_seed, s.first_seed + s.seeds)
            for d in s.dimensions
            for name in s.solvers
        )
        batches = tuple(Trial(BATCHES, "discrete", (("dimension", d),)) for d in s.dimensions)
        return [Stage(SOLVERS, fits, may_fail=True), Stage(BATCHES, batches)]

    def titles(self) -> Mapping[str, str]:
        """Solvers go by their names."""
        return {name: name for name in self.settings.solvers}

    def check(self, world_size: int) -> None:
        """Refuse dimensions that no pair was published for."""
        for dimension in self.settings.dimensions:
            self.pair(dimension)

    def pair(self, dimension: int) -> Pair:
        """P and Q."""
        if dimension not in self._pairs:
            s = self.settings
            self._pairs[dimension] = (
                _published(dimension, s.funnels)
                if s.pair == "funnels"
                else NetworkPair.draw(dimension)
            )
        return self._pairs[dimension]

    @cached_property
    def _pairs(self) -> dict[int, Pair]:
        return {}

    def solver(self, trial: Trial) -> Solver:
        """The solver of a trial, with its budget."""
        iterations = max(1, round(self.settings.budget * solvers()[trial.method].iterations))
        return make_solver(
            trial.method, iterations=iterations, batch=self.settings.batch, seed=trial.seed
        )

    def steps(self, trial: Trial) -> int:
        """Iterations."""
        return self.solver(trial).iterations if trial.stage == SOLVERS else 1

    def run(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Fit and judge a solver, or solve mini-batches."""
        s = self.settings
        dimension = int(dict(trial.params)["dimension"])
        pair = self.pair(dimension)
        if trial.stage == BATCHES:
            found = batch_estimates(pair, s.batch_sizes)
            place.advance(1)
            return {"batches": {str(n): [e.value, e.standard_error] for n, e in found.items()}}
        solver = self.solver(trial)

        def told(iteration: int, fitted: Solver) -> None:
            place.advance(1)

        try:
            outcome = run(
                solver,
                pair,
                samples=s.samples,
                history=max(1, solver.iterations // TOLD),
                on_step=told,
            )
        except FloatingPointError as error:
            msg = f"{error} in {trial.name}"
            raise NonFiniteError(msg) from error
        e, truth = outcome.estimate, outcome.truth
        values = (
            *(e.value, e.standard_error, e.dual, e.lower, e.upper),
            *(truth.value, truth.standard_error, *outcome.errors, *outcome.slopes),
        )
        record: dict[str, Any] = dict(zip(NUMBERS, values, strict=True))
        for name, value in record.items():
            if not is_number(value):
                msg = f"{name} must be finite, got {value} in {trial.name}"
                raise NonFiniteError(msg)
        record["history"] = [{"step": i, "estimate": value} for i, value in outcome.history]
        if dimension == 2 and trial.seed == s.first_seed:
            record["surface"] = solver.potential(plane()).reshape(GRID, GRID).tolist()
        return record

    def faults(self, trial: Trial, record: Mapping[str, Any]) -> Iterable[str]:
        """Check the numbers."""
        if trial.stage == BATCHES:
            found = record.get("batches")
            sizes = [str(n) for n in self.settings.batch_sizes]
            if not isinstance(found, dict) or list(found) != sizes:
                yield f"batches must hold the sizes {', '.join(sizes)}"
            elif not all(map(is_number, np.array(list(found.values()), dtype=object).flat)):
                yield "batches must hold finite numbers"
            return
        for name in NUMBERS:
            if not is_number(record.get(name)):
                yield f"{name} must be a finite number, got {record.get(name)!r}"

    # What is told.

    def frame(self, results: Results) -> pd.DataFrame:
        """One row per solver, dimension and seed, beside what was published."""
        rows = [
            {"dimension": int(dict(t.params)["dimension"]), "solver": t.method, "seed": t.seed}
            | {name: record[name] for name in NUMBERS}
            | self._published(t.method, int(dict(t.params)["dimension"]))
            for t, record in results.records.items()
            if t.stage == SOLVERS
        ]
        return pd.DataFrame(rows)

    def _published(self, solver: str, dimension: int) -> dict[str, float | None]:
        s = self.settings
        known = s.pair == "funnels" and dimension in SOLVER_DIMENSIONS
        place = SOLVER_DIMENSIONS.index(dimension) if known else 0
        found = {}
        for name, table in (("published_cosine", COSINES), ("published_estimate", ESTIMATES)):
            numbers = table.get(s.funnels, {}).get(solver) if known else None
            found[name] = None if numbers is None else numbers[place]
        return found

    def table(self, results: Results) -> str:
        """Every solver in every dimension: means over the seeds."""
        found: list[str] = []
        frame = self.frame(results)
        if frame.empty:
            return "No solver came to an end."
        for dimension, of_dimension in frame.groupby("dimension", sort=False):
            rows = []
            for solver, group in of_dimension.groupby("solver", sort=False):
                mean = group.drop(columns=["solver"]).astype(float).mean()
                rows.append(
                    {
                        "solver": solver,
                        "estimate": f"{mean.estimate:.3f}",
                        "published": _shown(mean.published_estimate),
                        "cosine": f"{mean.cosine:.3f}",
                        "published ": _shown(mean.published_cosine),
                        "L2": f"{mean.squared:.3f}",
                        "slope on rays": f"{mean.on_rays:.2f}",
                        "off rays": f"{mean.off_rays:.2f}",
                    }
                )
            first = of_dimension.iloc[0]
            found.append(
                f"D = {dimension}: W1 = {first.truth:.4f} ± {first.truth_error:.4f}, between the bounds "
                f"{of_dimension.lower.mean():.3f} and {of_dimension.upper.mean():.3f}\n\n"
                + markdown(pd.DataFrame(rows))
            )
        return "\n\n".join(found)

    def budget(self) -> str:
        """What the solvers were given, in words."""
        s = self.settings
        known = solvers()
        each = ", ".join(
            f"{name} {max(1, round(s.budget * known[name].iterations))}" for name in s.solvers
        )
        return f"{100 * s.budget:g} % of the full protocol's iterations, with batches of {s.batch}: {each}"

    def report(self, results: Results) -> str:
        """Tell what was done."""
        s = self.settings
        what = (
            f"{s.funnels} published funnels"
            if s.pair == "funnels"
            else "a random network's gradient"
        )
        shown = "".join(
            f"\n![{title}]({name})"
            for name, title in PICTURES.items()
            if name != SURFACES or 2 in s.dimensions
        )
        return f"""# Continuous solvers of W1, beside the truth

{self.table(results)}

*estimate* is the mean of the potential on P minus that on Q, over {s.samples} samples of each side that
the solver has not seen; *cosine* and *L2* (mean squared distance) compare its gradient with the true one
at samples of P; a slope is the mean norm of its gradient, which is 1 on the transport rays of an exact
solution. *published*: by the authors of the benchmark, with the full protocol, one seed.
{shown}

## Protocol

P and Q: {what}. Budget: {self.budget()}. {s.seeds} seed(s). Bounds are those of lemma 3.5 of the thesis
on adversarial transfer. "discrete" is the exact solution between two mini-batches; its estimate is the
mean exact cost between mini-batches, not that of a potential.
"""

    def tables(self, results: Results) -> Mapping[str, pd.DataFrame]:
        """All numbers."""
        return {"estimates.csv": self.frame(results)}

    def draw(self, results: Results) -> Mapping[str, Figure]:
        """All pictures."""
        from kantorch.drivers import w1_figures as figures

        frame = self.frame(results)
        fits = {t: r for t, r in results.records.items() if t.stage == SOLVERS}
        if frame.empty:
            return {}
        truths = frame.groupby("dimension", sort=False)["truth"].first().to_dict()
        batches = {
            int(dict(t.params)["dimension"]): record["batches"]
            for t, record in results.records.items()
            if t.stage == BATCHES
        }
        found = {
            "convergence.png": figures.draw_convergence(fits, truths),
            "slopes.png": figures.draw_slopes(frame),
            "batches.png": figures.draw_batches(batches, truths),
            "samples.png": figures.draw_samples(
                {d: self.pair(d) for d in self.settings.dimensions}
            ),
        }
        surfaces = {t.method: r["surface"] for t, r in fits.items() if "surface" in r}
        if surfaces:
            pair = self.pair(2)
            true = pair.potential(plane()).reshape(GRID, GRID).tolist()
            found[SURFACES] = figures.draw_surfaces({"truth": true} | surfaces, pair)
        return found


PICTURES = {
    "convergence.png": "Estimates during training",
    "slopes.png": "Slopes on and off the transport rays",
    SURFACES: "Potentials in two dimensions",
    "batches.png": "Exact W1 between mini-batches",
    "samples.png": "Samples of P and Q",
}


def plane(reach: float = 2.5) -> torch.Tensor:
    """The places of a surface (GRID * GRID, 2), row by row from below."""
    axis = torch.linspace(-reach, reach, GRID)
    return torch.cartesian_prod(axis, axis).flip(1)


def _published(dimension: int, funnels: int) -> FunnelPair:
    try:
        return FunnelPair.published(dimension, funnels)
    except ValueError as error:
        msg = f"dimensions must be those of published pairs: {error}; --pair network has all others"
        raise ConfigError(msg) from error


def _shown(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


command = command_of(W1)
