"""A tiny transfer run: what it writes, what it refuses, and that it goes on where it was killed."""

from __future__ import annotations

import csv
import io
import random
import statistics
from pathlib import Path

import pytest
import torch
import yaml

from kantorch.drivers import Transfer
from kantorch.training import NonFiniteError, RunError, Trial
from kantorch.training.choice import choose
from kantorch.training.lock import folder_lock
from training.killed import run_killed
from training.tiny import TINY, identity, run_transfer, tiny

NUMBERS = ("metrics.csv", "results.csv", "test.json")


def numbers(folder):
    return {name: (folder / name).read_bytes() for name in NUMBERS}


def trials():
    return [trial for stage in Transfer(tiny()).stages() for trial in stage.trials]


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_run_writes_every_file(finished):
    folder, _ = finished
    for name in (*NUMBERS, "config.yaml", "report.md"):
        assert (folder / name).stat().st_size > 0
    for name in ("accuracy.png", "trace.png", "alphas.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    logs = folder / "logs"
    assert {path.parent.relative_to(logs) for path in logs.rglob("events.out.tfevents.*")} == {
        Path(trial.name) for trial in trials()
    }
    assert not list(folder.rglob("*.ckpt"))
    assert not list(folder.rglob("*.partial"))
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved == identity(tiny())


def test_metrics_cover_every_round_of_every_trial(finished):
    rows = table(finished[0] / "metrics.csv")
    assert len(rows) == tiny().rounds * len(trials())
    assert [row["step"] for row in rows[:3]] == ["2", "4", "6"]
    for row in rows[tiny().rounds :]:
        assert 0 <= float(row["validation_trace_pool"]) <= 1 + 1e-6
        assert float(row["cross_entropy"]) > 0
        assert (row["penalty"] != "") == (row["method"] != "none")


def test_the_trace_of_every_step_is_kept(finished):
    for record in finished[1].chosen_records("optimal"):
        assert len(record["traces"]["pool"]) == tiny().steps
        assert all(0 <= trace <= 1 + 1e-6 for trace in record["traces"]["pool"])
    assert finished[1].chosen_records("l2sp")[0]["traces"] == {}


def test_only_chosen_strengths_are_tested(finished):
    folder, results = finished
    rows = table(folder / "results.csv")
    tested = [row for row in rows if row["test"]]
    assert len(tested) == 2 * 3
    for row in tested:
        point = {k: float(row[k]) for k in ("alpha", "lr") if row[k]}
        assert point == dict(results.chosen[row["method"]])
        assert row["chosen"] == "1"


def test_the_table_shows_mean_and_deviation_over_seeds(finished):
    folder, results = finished
    accuracies = [100 * a for a in results.tests("optimal")]
    cell = f"{statistics.fmean(accuracies):.2f} ± {statistics.stdev(accuracies):.2f}"
    (line,) = [text for text in results.table().splitlines() if "optimal" in text]
    assert cell in line
    report = (folder / "report.md").read_text()
    assert Transfer(tiny()).table(results) in report
    assert results.difference_table() in report


def trial(alpha, seed):
    return Trial("target", "optimal", (("alpha", alpha),), seed)


def test_parameters_are_chosen_by_the_mean_score():
    scores = {trial(0.01, 0): 0.5, trial(0.1, 0): 0.9, trial(0.01, 1): 0.7, trial(0.1, 1): 0.5}
    assert choose(scores) == {"optimal": (("alpha", 0.1),)}
    scores[trial(0.01, 0)], scores[trial(0.01, 1)] = 0.5, 0.9  # a tie goes to the smaller strength
    assert choose(scores) == {"optimal": (("alpha", 0.01),)}


def test_trials_that_differ_have_folders_of_their_own():
    near = (0.1, 0.10000001, 1e-5, 1.00000001e-5)
    assert len({trial(alpha, 0).name for alpha in near}) == len(near)
    assert trial(1, 0).name == trial(1.0, 0).name


def test_a_repeated_run_gives_the_same_numbers(finished, tmp_path):
    torch.manual_seed(77)
    random.seed(77)
    run_transfer(tiny(), tmp_path / "again")
    assert numbers(tmp_path / "again") == numbers(finished[0])


def test_a_finished_run_is_not_repeated(copied, monkeypatch):
    monkeypatch.setattr(Transfer, "run", None)
    before = numbers(copied)
    assert run_transfer(tiny(), copied).chosen
    assert numbers(copied) == before


@pytest.mark.parametrize("where", ["sync", "step"])
def test_killed_runs_end_with_the_same_numbers(finished, tmp_path, where):
    rng = random.Random(where)
    counts = [rng.randint(1, 9) if where == "step" else rng.randint(3, 12) for _ in range(6)]
    assert run_killed(tmp_path / "run", TINY, where, counts) >= 4
    assert numbers(tmp_path / "run") == numbers(finished[0])
    assert not list((tmp_path / "run").rglob("*.partial"))


def interrupted(folder, monkeypatch, steps):
    """Run until a number of training steps is made, then stop as a crash would."""
    from kantorch.training.module import PenalizedNetwork

    real, made = PenalizedNetwork.training_step, []

    def step(module, batch, batch_idx):
        made.append(1)
        if len(made) > steps:
            raise MemoryError
        return real(module, batch, batch_idx)

    monkeypatch.setattr(PenalizedNetwork, "training_step", step)
    with pytest.raises(MemoryError):
        run_transfer(tiny(), folder)
    monkeypatch.setattr(PenalizedNetwork, "training_step", real)


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_a_damaged_checkpoint_is_named_and_the_advice_helps(finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    interrupted(folder, monkeypatch, steps=6 + 3)
    (checkpoint,) = folder.rglob("last.ckpt")
    whole = checkpoint.read_bytes()
    others = torch.load(checkpoint, weights_only=True) | {"trial": "source"}
    bare = torch.load(folder / "trials" / "source" / "weights.pt", weights_only=True)
    for content in (whole[:-100], saved(others), saved(bare)):
        checkpoint.write_bytes(content)
        with pytest.raises(RunError, match=r"none-lr0\.05-seed0/last\.ckpt.*delete it"):
            run_transfer(tiny(), folder)
    checkpoint.unlink()
    run_transfer(tiny(), folder)
    assert numbers(folder) == numbers(finished[0])


def test_a_folder_in_use_is_refused(copied):
    with folder_lock(copied), pytest.raises(RunError, match="another run"):
        run_transfer(tiny(), copied)


def test_an_accelerator_that_is_absent_is_named(tmp_path):
    with pytest.raises(RunError, match="accelerator 'mps'"):
        run_transfer(tiny(accelerator="mps"), tmp_path / "run")


@pytest.mark.parametrize("term", ["cross_entropy", "penalty"])
def test_a_loss_that_is_not_finite_is_named(tmp_path, monkeypatch, term):
    if term == "penalty":
        from kantorch.regularizers import RepresentationTransport

        monkeypatch.setattr(
            RepresentationTransport,
            "forward",
            lambda self: self.watch.student.head.weight.sum() * float("nan"),
        )
    else:
        from kantorch.training.objective import functional

        monkeypatch.setattr(
            functional, "cross_entropy", lambda x, y: (x.sum() * 0 + 1).log() / (x.sum() * 0)
        )
    config = tiny(methods=("optimal",), seeds=1)
    if term == "cross_entropy":  # of the source, too, which all trials need
        with pytest.raises(NonFiniteError, match="cross_entropy must be finite, got nan in source"):
            run_transfer(config, tmp_path / "run")
        return
    results = run_transfer(config, tmp_path / "run")
    assert len(results.failed) == 2
    for trial, why in results.failed.items():
        assert why.startswith(f"penalty must be finite, got nan in {trial.name} at step 0 of 6")
    # Nothing that was computed from it is kept as a result.
    assert not list(tmp_path.rglob("optimal*/weights.pt"))
    assert not list(tmp_path.rglob("last.ckpt"))
    report = (tmp_path / "run" / "report.md").read_text()
    assert "Every trial of optimal transport failed." in report


def test_rates_that_diverge_are_left_out_and_the_others_compared(tmp_path):
    """Wherever it shows first: in the loss, the gradient, the weights, or the transport."""
    settings = tiny(methods=("none", "optimal", "l2sp+bss"), grids={}, learning_rates=(0.05, 1e35))
    results = run_transfer(settings, tmp_path / "run")
    assert {dict(t.params)["lr"] for t in results.failed} == {1e35}
    assert {dict(t.params)["lr"] for t in results.scores} == {0.05}
    assert set(results.chosen) == {"none", "optimal", "l2sp+bss"}
    for method in results.chosen:
        assert len(results.tests(method)) == 2


def test_weights_that_overflow_are_not_judged(tmp_path, monkeypatch):
    """A step may be too long even where loss and gradient are finite."""
    real = torch.optim.SGD.step

    def step(optimizer, *arguments, **options):
        loss = real(optimizer, *arguments, **options)
        if optimizer.param_groups[0]["initial_lr"] == 3.0:
            optimizer.param_groups[0]["params"][0].data.fill_(torch.inf)
        return loss

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    settings = tiny(methods=("none",), grids={}, learning_rates=(0.05, 3.0), rounds=6, seeds=1)
    ((trial, why),) = run_transfer(settings, tmp_path / "run").failed.items()
    assert dict(trial.params)["lr"] == 3.0
    assert why.startswith("the weights block1.0.weight must be finite in target/none")


def test_a_transport_that_the_solver_refuses_fails_its_trial(tmp_path, monkeypatch):
    from kantorch import solve
    from kantorch.regularizers import RepresentationTransport

    monkeypatch.setattr(
        RepresentationTransport, "forward", lambda self: solve(torch.full((2, 2), torch.nan)).value
    )
    results = run_transfer(tiny(methods=("none", "optimal"), seeds=1), tmp_path / "run")
    assert set(results.chosen) == {"none"}
    for why in results.failed.values():
        assert why.startswith("penalty cannot be computed: cost must be finite: cost[0, 0] = nan")


def test_a_gradient_that_is_not_finite_is_named(tmp_path):
    with pytest.raises(NonFiniteError, match="must be finite"):
        run_transfer(tiny(pretrain_learning_rate=1e30), tmp_path / "run")
