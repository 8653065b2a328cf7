"""A study knows nothing of networks: resume, choice, test and report of a driver that only counts."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kantorch.training import (
    ConfigError,
    Driver,
    Methods,
    NonFiniteError,
    RunError,
    Settings,
    Stage,
    Study,
    Trial,
)
from kantorch.training.statistics import paired
from kantorch.training.trial import grid_trials

GRIDS = {"slow": {"alpha": (1.0,)}, "fast": {"alpha": (1.0, 2.0, 3.0), "lr": (0.1, 0.2)}}


class Counting(Settings):
    """Settings of the driver."""

    best: float = 2.0
    """The best alpha."""
    seeds: int = 3
    """Of each point."""


class Counter(Driver[Counting]):
    """Scores a trial by how near its alpha is to the best; notes what it was asked to do."""

    name = "count"
    settings_type = Counting

    def __init__(self, settings):
        super().__init__(settings)
        self.done = []
        self.tested = []

    def stages(self):
        seeds = range(self.settings.seeds)
        return [
            Stage("first", (Trial("first"),)),
            Stage("second", grid_trials("second", GRIDS, seeds), compared=True),
        ]

    def titles(self):
        return {"slow": "Slow", "other": "Other", "fast": "Fast"}

    def run(self, trial, place):
        self.done.append(trial)
        alpha = dict(trial.params).get("alpha", 0.0)
        score = 1 / (1 + abs(alpha - self.settings.best)) - trial.seed / 100
        return {"score": score, "history": [{"step": 1, "value": alpha}]}

    def faults(self, trial, record):
        if "score" not in record:
            yield "score must be there"

    def score(self, record):
        return record["score"]

    def test(self, trial, place):
        self.tested.append(trial)
        return 0.5 + trial.seed / 10


def study(folder, **settings):
    driver = Counter(Counting(**settings))
    return driver, Study(driver, folder, progress=False).run()


def test_trials_are_done_once_and_tested_once(tmp_path):
    driver, results = study(tmp_path)
    assert len(driver.done) == 1 + 3 * (1 + 6)
    assert dict(results.chosen["fast"]) == {"alpha": 2.0, "lr": 0.1}
    assert sorted(t.method for t in driver.tested) == ["fast"] * 3 + ["slow"] * 3
    again, same = study(tmp_path)
    assert again.done == again.tested == []
    assert same == results


class Diverging(Counter):
    """Diverges at some points of the grid, and at one point for one seed alone."""

    bad = frozenset({("fast", 2.0, 1), ("fast", 1.0, 0), ("fast", 1.0, 1), ("fast", 1.0, 2)})

    def run(self, trial, place):
        record = super().run(trial, place)
        if (trial.method, dict(trial.params).get("alpha"), trial.seed) in self.bad:
            msg = f"loss must be finite, got nan in {trial.name}"
            raise NonFiniteError(msg)
        return record


def diverging(folder, **options):
    driver = Diverging(Counting())
    return driver, Study(driver, folder, progress=False, **options).run()


def test_a_trial_that_diverges_does_not_stop_the_study_and_is_not_chosen(tmp_path):
    driver, results = diverging(tmp_path)
    assert len(driver.done) == 1 + 3 * (1 + 6)  # the rates are two
    assert len(results.failed) == 2 * 4
    assert set(results.failed) | set(results.records) == set(driver.done)
    # Its mean without the seed that failed would be the best.
    assert dict(results.chosen["fast"])["alpha"] == 3.0
    assert all(dict(t.params).get("alpha") != 2.0 for t in driver.tested)
    # What diverged was tried, too: an edge is one of all that was tried.
    assert results.grid("fast")["alpha"] == [1.0, 2.0, 3.0]
    report = (tmp_path / "report.md").read_text()
    assert "8 of 22 trials diverged" in report
    for trial, why in results.failed.items():
        assert why == f"loss must be finite, got nan in {trial.name}"
        assert f"- `{trial.name}`: {why}" in report
    frame = pd.read_csv(tmp_path / "results.csv")
    assert frame["validation"].isna().sum() == 8
    assert not frame[frame["validation"].isna()]["chosen"].any()


def test_a_trial_that_diverged_is_not_done_again(tmp_path):
    _, results = diverging(tmp_path)
    report = (tmp_path / "report.md").read_text()
    again, same = diverging(tmp_path)
    assert again.done == again.tested == []
    assert same == results
    assert (tmp_path / "report.md").read_text() == report


def test_trials_of_several_processes_may_diverge(tmp_path):
    _, results = diverging(tmp_path / "one")
    _, shared = diverging(tmp_path / "two", workers=2)
    assert shared.failed == results.failed
    assert shared.chosen == results.chosen


def test_a_method_without_a_point_that_held_is_said_to_be_lost(tmp_path):
    class Lost(Diverging):
        bad = frozenset(("fast", alpha, 0) for alpha in (1.0, 2.0, 3.0))

    results = Study(Lost(Counting()), tmp_path / "run", progress=False).run()
    assert set(results.chosen) == {"slow"}
    report = (tmp_path / "run" / "report.md").read_text()
    assert "Every point of the grid of Fast has a trial that failed." in report
    assert "| Fast     | diverged |" in report

    class None_(Diverging):
        bad = frozenset((m, a, s) for m in GRIDS for a in (1.0, 2.0, 3.0) for s in range(3))

    driver = None_(Counting())
    results = Study(driver, tmp_path / "none", progress=False).run()
    assert results.chosen == {}
    assert driver.tested == []
    report = (tmp_path / "none" / "report.md").read_text()
    assert "Every trial of Slow failed." in report
    assert "Every trial of Fast failed." in report


def test_what_others_need_may_not_diverge(tmp_path):
    class Early(Diverging):
        bad = frozenset({("", None, 0)})

    with pytest.raises(NonFiniteError, match="nan in first"):
        Study(Early(Counting()), tmp_path, progress=False).run()
    assert not list(tmp_path.glob("trials/first/record.json"))


def test_a_stopped_study_does_what_is_left(tmp_path):
    driver, results = study(tmp_path)
    lost = driver.done[5]
    (tmp_path / "trials" / lost.name / "record.json").unlink()
    again, same = study(tmp_path)
    assert again.done == [lost]
    assert again.tested == []
    assert same.scores == results.scores


def test_a_record_that_its_driver_does_not_know_is_damaged(tmp_path):
    driver, _ = study(tmp_path)
    path = tmp_path / "trials" / driver.done[3].name / "record.json"
    path.write_text(json.dumps({"trial": driver.done[3].name, "seconds": 1.0}))
    with pytest.raises(RunError, match=r"record\.json is damaged: score must be there"):
        study(tmp_path)


def test_another_choice_is_not_tested_again_unseen(tmp_path):
    """The test must not be what a choice is repeated for until it pleases."""
    driver, _ = study(tmp_path)
    for trial in driver.done:
        if dict(trial.params).get("alpha") == 3.0:
            path = tmp_path / "trials" / trial.name / "record.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"score": 1.0}))
    with pytest.raises(RunError, match=r"test\.json does not fit what was chosen"):
        study(tmp_path)


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_belongs_to_one_driver(tmp_path, force):
    study(tmp_path)

    class Other(Counter):
        name = "other"

    with pytest.raises(RunError, match="driver: count -> other"):
        Study(Other(Counting()), tmp_path, force=force, progress=False).run()
    assert (tmp_path / "results.csv").exists()


def test_tables_tell_edges_gaps_and_the_worst_seed(tmp_path):
    _, results = study(tmp_path)
    table = [[cell.strip() for cell in row.split("|")[1:-1]] for row in results.table().split("\n")]
    rows = {row[0]: dict(zip(table[0], row, strict=True)) for row in table[2:]}
    assert rows["Fast"]["chosen"] == "alpha 2, lr 0.1*"
    assert rows["Slow"]["chosen"] == "alpha 1"
    assert set(rows["Other"].values()) == {"Other", "\N{EN DASH}"}
    assert rows["Fast"]["worst seed"] == "50.00"
    frame = pd.read_csv(tmp_path / "results.csv")
    assert list(frame.columns) == ["method", "alpha", "lr", "seed", "validation", "chosen", "test"]
    assert frame["test"].notna().sum() == frame["chosen"].sum() == 6
    metrics = pd.read_csv(tmp_path / "metrics.csv")
    assert set(metrics["stage"]) == {"first", "second"}


def test_a_study_may_compare_nothing(tmp_path):
    class Plain(Counter):
        def stages(self):
            return [Stage("first", (Trial("first"),))]

        def report(self, results):
            return "# All that was done"

    results = Study(Plain(Counting()), tmp_path, progress=False).run()
    assert not results.chosen
    assert not results.test
    assert (tmp_path / "report.md").read_text().startswith("# All that was done\n")
    assert not (tmp_path / "results.csv").exists()


def test_intervals_are_students():
    rng = np.random.default_rng(5)
    first, second = rng.random(12), rng.random(12)
    found = paired(first, second)
    low, high = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert found.mean - found.half_width == pytest.approx(low)
    assert found.mean + found.half_width == pytest.approx(high)
    assert paired([0.5, 0.7], [0.5, 0.7]).half_width == 0
    assert str(paired([0.5], [0.25])) == "+25.00"


def test_methods_are_known_by_name_and_as_sums():
    methods = Methods()

    @methods.method("a", title="A", grid={"alpha": (1.0, 2.0)}, needs={"x"})
    def build_a(context, alpha): ...

    @methods.method("b", title="B", grid={"alpha": (3.0,), "k": (1.0,)}, needs={"y"})
    def build_b(context, alpha, k): ...

    assert methods.names == ("a", "b")
    both = methods["a+b"]
    assert both.title == "A + B"
    assert both.grid == {"a_alpha": (1.0, 2.0), "b_alpha": (3.0,), "b_k": (1.0,)}
    assert both.needs == {"x", "y"}
    for wrong in ("c", "a+c", "a+a", "", "a+"):
        with pytest.raises(ConfigError, match="methods must hold names of a, b"):
            methods[wrong]
