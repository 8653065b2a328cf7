"""Everything a study found out, and the tables that can be made of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from kantorch.training.statistics import paired

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kantorch.training.trial import Params, Trial

ABSENT = "\N{EN DASH}"  # what cannot be: a method that does not apply
EDGE = "*"


@dataclass(frozen=True)
class Results:
    """What the trials and the test gave.

    Attributes:
        titles: Of every method, in the order of the table; also of those that do not apply.
        records: What each trial of every stage left.
        scores: What each trial of the compared stage scored; 1 is best.
        chosen: The point of its grid that each method's scores chose.
        test: What each chosen trial reached in the test.
        failed: Why trials have left nothing.
    """

    titles: Mapping[str, str]
    records: Mapping[Trial, Mapping[str, Any]]
    scores: Mapping[Trial, float]
    chosen: Mapping[str, Params]
    test: Mapping[Trial, float]
    failed: Mapping[Trial, str] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """Those of every method, in order."""
        return list(dict.fromkeys(trial.seed for trial in self.scores))

    def grid(self, method: str) -> dict[str, list[float]]:
        """The values that were tried, by parameter, the smallest first."""
        tried = [*self.scores, *self.failed]
        points = [trial.params for trial in tried if trial.method == method]
        values: dict[str, set[float]] = {}
        for name, value in itertools.chain(*points):
            values.setdefault(name, set()).add(value)
        return {name: sorted(found) for name, found in values.items()}

    def chosen_trials(self, method: str) -> list[Trial]:
        """The trials, per seed, at the chosen point of a method's grid."""
        wanted = method, self.chosen[method]
        return [trial for trial in self.scores if (trial.method, trial.params) == wanted]

    def chosen_records(self, method: str) -> list[Mapping[str, Any]]:
        """What they left."""
        return [self.records[trial] for trial in self.chosen_trials(method)]

    def tests(self, method: str) -> list[float]:
        """What they reached in the test."""
        return [self.test[trial] for trial in self.chosen_trials(method)]

    def point(self, method: str) -> str:
        """The chosen parameters in words; a star marks the edge of a grid of several values."""
        found = []
        for name, value in self.chosen[method]:
            grid = self.grid(method)[name]
            edge = EDGE if len(grid) > 1 and value in (grid[0], grid[-1]) else ""
            found.append(f"{name} {value:g}{edge}")
        return ", ".join(found)

    def frame(self) -> pd.DataFrame:
        """One row per trial of the compared stage."""
        stages = {trial.stage for trial in self.scores}
        failed = {trial: None for trial in self.failed if trial.stage in stages}
        rows: list[dict[str, Any]] = [
            {"method": trial.method}
            | dict(trial.params)
            | {
                "seed": trial.seed,
                "validation": score,
                "chosen": int(trial in self.test),
                "test": self.test.get(trial),
            }
            for trial, score in {**self.scores, **failed}.items()
        ]
        last = ["seed", "validation", "chosen", "test"]
        found = pd.DataFrame(rows)
        return found[[name for name in found.columns if name not in last] + last]

    def table(self, base: str = "none", **more: Mapping[str, str]) -> str:
        """The comparison as a Markdown table.

        Args:
            base: The method that the others are compared with in a column of its own.
            **more: Further columns, by method.
        """
        rows = []
        for method, title in self.titles.items():
            row = {"method": title}
            if method in self.chosen:
                tests = pd.Series(self.tests(method)) * 100
                scores = pd.Series([self.scores[t] for t in self.chosen_trials(method)]) * 100
                row |= {
                    "chosen": self.point(method),
                    "test %": spread(tests),
                    "worst seed": f"{tests.min():.2f}",
                    f"minus {base}": self._gain(method, base),
                    "validation %": spread(scores),
                }
                row |= {name: column[method] for name, column in more.items()}
            elif any(trial.method == method for trial in self.failed):
                row["chosen"] = "diverged"
            rows.append(row)
        return markdown(pd.DataFrame(rows).fillna(ABSENT))

    def _gain(self, method: str, base: str) -> str:
        if base not in self.chosen or method == base:
            return "-"
        return str(paired(self.tests(method), self.tests(base)))

    def differences(self) -> pd.DataFrame:
        """One row per pair of methods: how much more the first reached, paired by seed."""
        rows: list[dict[str, Any]] = [
            {"method": first, "minus": second}
            | paired(self.tests(first), self.tests(second)).columns()
            for first in self.chosen
            for second in self.chosen
            if first != second
        ]
        return pd.DataFrame(rows)

    def difference_table(self) -> str:
        """All differences as a Markdown table: the row's method minus the column's."""
        rows = []
        for first in self.chosen:
            row = {"minus": self.titles[first]}
            for second in self.chosen:
                same = first == second
                cell = "" if same else str(paired(self.tests(first), self.tests(second)))
                row[self.titles[second]] = cell
            rows.append(row)
        return markdown(pd.DataFrame(rows))


def spread(values: pd.Series[float]) -> str:
    """Mean ± sample standard deviation, which one value has not."""
    return f"{values.mean():.2f}" + (f" ± {values.std():.2f}" if len(values) > 1 else "")


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table whose cells are text."""
    return str(table.to_markdown(index=False, disable_numparse=True))
