"""Adversarial transfer: a prior of kernels as a file, penalties that use it, and how far kernels go."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from kantorch import solve_sample
from kantorch.drivers import Adversarial, AdversarialSettings
from kantorch.regularizers import KernelPrior
from kantorch.training import RunError, Study
from training.killed import run_killed
from training.tiny import TRAINING

TINY = TRAINING | {
    "sources": 3,
    "seeds": 1,
    "methods": ("none", "delta+bss", "filters", "filters_critics"),
    "grids": {
        "delta+bss": {"delta_alpha": (0.01,), "bss_alpha": (0.001,)},
        "filters": {"alpha": (1e-9, 30.0)},
        "filters_critics": {"alpha": (0.1,)},
    },
}
NUMBERS = ("metrics.csv", "results.csv", "displacements.csv", "test.json")
LAYERS = ["block1.0", "block2.0", "block3.0"]


def run(folder, **changes):
    driver = Adversarial(AdversarialSettings(**(TINY | changes)))
    return Study(driver, folder, progress=False).run()


def numbers(folder):
    return {name: (folder / name).read_bytes() for name in NUMBERS}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adversarial") / "run"
    return folder, run(folder)


def record(results, method, **params):
    (found,) = (
        record
        for trial, record in results.records.items()
        if trial.method == method and params.items() <= dict(trial.params).items()
    )
    return found


def test_kernels_of_all_source_networks_are_pooled_in_a_file(finished):
    prior = KernelPrior.load(finished[0] / "trials/prior/prior.pt")
    assert {name: tuple(p.shape) for name, p in prior.samples.items()} == {
        "block1.0": (3 * 2, 9),
        "block2.0": (3 * 6, 9),
        "block3.0": (3 * 12, 9),
    }


def test_displacements_keep_the_order_of_lemma_3_1(finished):
    folder, _ = finished
    rows = pd.read_csv(folder / "displacements.csv")
    assert set(rows["method"]) == set(TINY["methods"])
    assert sorted(set(rows["layer"])) == LAYERS
    assert (rows["w1"] <= rows["mean"] * (1 + 1e-9)).all()
    assert (rows["mean"] <= rows["rms"] * (1 + 1e-9)).all()
    assert (rows["w1"] > 0).all()
    assert (folder / "filters.png").read_bytes().startswith(b"\x89PNG")
    assert "W1 of kernels, exact" in (folder / "report.md").read_text()


def test_every_round_tells_w1_to_the_prior(finished):
    """By the exact plan, of all kernels of these small layers."""
    folder, results = finished
    prior = KernelPrior.load(folder / "trials/prior/prior.pt")
    for trial, found in results.records.items():
        if trial.stage != "target":
            continue
        assert len(found["history"]) == TINY["rounds"]
        weights = torch.load(folder / "trials" / trial.name / "weights.pt", weights_only=True)
        for layer in LAYERS:
            points = weights[f"{layer}.weight"].flatten(0, 1).flatten(1).double()
            w1 = solve_sample(points, prior.samples[layer].double(), metric="euclidean").value
            assert found["history"][-1][f"prior_{layer}"] == pytest.approx(w1.item())
    assert "prior_block1.0" in (folder / "metrics.csv").read_text()
    assert (folder / "prior.png").read_bytes().startswith(b"\x89PNG")


def test_a_strong_penalty_holds_kernels_to_the_prior(finished):
    weak, strong = (record(finished[1], "filters", alpha=a)["displacements"] for a in (1e-9, 30.0))
    assert all(strong[layer]["prior"] < weak[layer]["prior"] for layer in LAYERS)


def test_a_penalty_of_no_strength_changes_nothing(finished):
    plain = record(finished[1], "none")["history"]
    for row, other in zip(
        plain, record(finished[1], "filters", alpha=1e-9)["history"], strict=True
    ):
        assert other["cross_entropy"] == pytest.approx(row["cross_entropy"], rel=1e-5)


def test_a_prior_and_a_teacher_that_are_handed_in_need_no_source(finished, tmp_path):
    folder, results = finished
    given = run(
        tmp_path / "run",
        prior=str(folder / "trials/prior/prior.pt"),
        teacher=str(folder / "trials/source0/weights.pt"),
    )
    assert [trial.stage for trial in given.records] == ["target"] * 5
    assert given.test == results.test


def test_a_prior_is_read_once(finished, tmp_path, monkeypatch):
    read = []
    load = KernelPrior.load
    monkeypatch.setattr(KernelPrior, "load", lambda path: read.append(path) or load(path))
    given = {
        "prior": str(finished[0] / "trials/prior/prior.pt"),
        "teacher": str(finished[0] / "trials/source0/weights.pt"),
    }
    run(
        tmp_path / "run", methods=("none", "filters"), grids={"filters": {"alpha": (1.0,)}}, **given
    )
    assert len(read) == 1


def test_a_prior_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "prior.pt").write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"cannot read the prior .*prior\.pt"):
        run(tmp_path / "run", prior=str(tmp_path / "prior.pt"))


@pytest.mark.parametrize(("where", "counts"), [("step", (3, 20, 25)), ("sync", (5, 12, 40))])
def test_a_run_that_is_killed_goes_on_to_the_same_numbers(finished, tmp_path, where, counts):
    settings = {"driver": "adversarial"} | TINY
    assert run_killed(tmp_path / "run", settings, where, counts) == len(counts)
    assert numbers(tmp_path / "run") == numbers(finished[0])
