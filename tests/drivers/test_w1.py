"""W1 studies: numbers for every solver and pair, beside the truth, once each."""

from __future__ import annotations

import pytest

from kantorch.drivers import W1, W1Settings
from kantorch.training import ConfigError, RunError, Study
from kantorch.w1 import make_solver, solvers

TINY = {
    "budget": 1e-4,
    "batch": 16,
    "samples": 64,
    "batch_sizes": (8, 32),
    "dimensions": (2, 4),
    "seeds": 2,
}


def run(folder, **changes):
    return Study(W1(W1Settings(**(TINY | changes))), folder, progress=False).run()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("w1") / "run"
    return folder, run(folder)


def test_every_solver_is_judged_beside_the_truth(finished):
    folder, results = finished
    frame = W1(W1Settings(**TINY)).frame(results)
    assert set(frame["solver"]) == set(solvers())
    assert len(frame) == len(solvers()) * 2 * 2
    assert frame["truth"].groupby(frame["dimension"]).first().to_dict() == pytest.approx(
        {2: 0.8213, 4: 1.385}, rel=0.005
    )
    assert (frame["lower"] <= frame["upper"]).all()
    two = frame[frame["dimension"] == 2].groupby("solver").first()
    assert two.loc["gp", "published_cosine"] == 0.845
    assert frame[frame["dimension"] == 4]["published_cosine"].isna().all()
    for name in ("convergence", "slopes", "surfaces", "batches", "samples"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert len((folder / "estimates.csv").read_text().splitlines()) == 1 + len(frame)
    report = (folder / "report.md").read_text()
    for solver in solvers():
        assert f"| {solver} " in report
    assert "D = 2: W1 = 0.82" in report


def test_a_finished_study_is_only_told_again(finished):
    folder, results = finished
    report = (folder / "report.md").read_bytes()
    assert run(folder) == results
    assert (folder / "report.md").read_bytes() == report


def test_mini_batches_are_too_far_apart_in_the_mean_the_smaller_the_more(finished):
    for trial, record in finished[1].records.items():
        if trial.stage == "batches":
            assert record["batches"]["8"][0] > record["batches"]["32"][0] > 0


def test_the_thesis_pair_is_drawn(tmp_path):
    results = run(tmp_path / "run", pair="network", dimensions=(4,), solvers=("tree",), seeds=1)
    (row,) = W1(W1Settings(**TINY)).frame(results).to_dict("records")
    assert row["truth"] > 0
    assert row["published_cosine"] is None


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"solvers": ("wgan",)}, ConfigError, "solvers must hold different names of clip"),
        ({"budget": 0.0}, ConfigError, "budget must be > 0"),
        ({"dimensions": (3,)}, ConfigError, "dimensions must be those of published.*'3'.*network"),
        ({"funnels": 5}, ConfigError, "funnels"),
    ],
)
def test_settings_that_are_refused(tmp_path, changes, error, words):
    with pytest.raises(error, match=words):
        run(tmp_path / "run", **changes)


def test_a_solver_that_diverges_is_told_and_the_others_are_judged(tmp_path, monkeypatch):
    from kantorch.drivers import w1

    real = w1.run

    def diverge(solver, pair, **options):
        if type(solver).__name__ == type(make_solver("gp")).__name__:
            msg = "loss must be finite, got nan"
            raise FloatingPointError(msg)
        return real(solver, pair, **options)

    monkeypatch.setattr(w1, "run", diverge)
    changes = {"solvers": ("gp", "discrete"), "dimensions": (2,), "seeds": 1}
    results = run(tmp_path / "run", **changes)
    assert [t.method for t in results.failed] == ["gp"]
    report = (tmp_path / "run" / "report.md").read_text()
    assert "| discrete " in report
    assert "Every trial of gp failed." in report
    assert "`solvers/gp-dimension2.0-seed0`: loss must be finite, got nan" in report
    results = run(tmp_path / "alone", **changes | {"solvers": ("gp",)})
    assert not [t for t in results.records if t.stage == "solvers"]
    assert "No solver came to an end." in (tmp_path / "alone" / "report.md").read_text()


def test_a_damaged_record_is_named(finished, tmp_path):
    import shutil

    folder = shutil.copytree(finished[0], tmp_path / "copy")
    record = next(folder.glob("trials/solvers/gp*/record.json"))
    record.write_text(record.read_text().replace('"cosine": ', '"cosine": "x", "c": '))
    with pytest.raises(RunError, match=r"cosine must be a finite number"):
        run(folder)
