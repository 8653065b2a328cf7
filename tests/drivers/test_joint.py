"""Joint transfer: what it compares, what it is handed, what it keeps, and that it goes on after a kill."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from kantorch.drivers import Joint, JointSettings
from kantorch.drivers.two_heads import JointTraining, make_two_heads
from kantorch.regularizers import LabelTransport
from kantorch.training import ConfigError, RunError, Study
from kantorch.training.backbones import Backbone
from kantorch.training.module import Schedule, rated_groups
from kantorch.training.objective import OBJECTIVES
from training.killed import run_killed
from training.tiny import TRAINING

TINY = TRAINING | {
    "labels_per_class": 4,
    "seeds": 1,
    "learning_rates": (0.05,),
    "grids": {
        "joint": {"source": (1.0,)},
        "jtln_mkmmd": {"source": (1.0,), "alpha": (0.1,)},
        "jtln_ot": {"source": (1.0,), "alpha": (1e-12, 0.3)},
    },
}
NUMBERS = ("metrics.csv", "results.csv", "test.json")


def run(folder, workers=1, **changes):
    driver = Joint(JointSettings(**(TINY | changes)))
    return Study(driver, folder, workers=workers, progress=False).run()


def numbers(folder):
    return {name: (folder / name).read_bytes() for name in NUMBERS}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joint") / "run"
    return folder, run(folder)


def history(results, method, **params):
    (found,) = (
        record["history"]
        for trial, record in results.records.items()
        if trial.method == method and params.items() <= dict(trial.params).items()
    )
    return found


def test_every_method_is_compared_and_the_costs_are_shown(finished):
    folder, results = finished
    assert set(results.chosen) == {"target", "consecutive", "joint", "jtln_mkmmd", "jtln_ot"}
    assert (folder / "cost.png").read_bytes().startswith(b"\x89PNG")
    report = (folder / "report.md").read_text()
    assert "joint, cost by MK-MMD" in report
    assert "cost.png" in report
    rows = pd.read_csv(folder / "trials/cost/ot-seed0/cost.csv", index_col=0)
    assert list(map(int, rows.index)) == list(JointSettings().source_classes)
    assert list(map(int, rows.columns)) == list(JointSettings().target_classes)
    assert rows.to_numpy().max() == 1


def test_transport_of_no_strength_is_joint_training(finished):
    _, results = finished
    joint, transport = history(results, "joint"), history(results, "jtln_ot", alpha=1e-12)
    strong = history(results, "jtln_ot", alpha=0.3)
    for mine, theirs, other in zip(joint, transport, strong, strict=True):
        assert theirs["transport"] < 1e-11
        for term in ("cross_entropy", "source_cross_entropy", "validation_accuracy"):
            assert theirs[term] == pytest.approx(mine[term], rel=1e-6)
        assert other["cross_entropy"] != mine["cross_entropy"]


def test_the_numbers_are_the_same_for_every_number_of_workers(finished, tmp_path):
    run(tmp_path / "run", workers=2)
    assert numbers(tmp_path / "run") == numbers(finished[0])


@pytest.mark.parametrize(("where", "counts"), [("step", (3, 11, 20)), ("sync", (4, 9, 30))])
def test_a_run_that_is_killed_goes_on_to_the_same_numbers(finished, tmp_path, where, counts):
    settings = {"driver": "joint"} | TINY
    assert run_killed(tmp_path / "run", settings, where, counts) == len(counts)
    assert numbers(tmp_path / "run") == numbers(finished[0])


def test_a_cost_that_is_handed_in_is_used(finished, tmp_path):
    folder, results = finished
    made = folder / "trials/cost/ot-seed0/cost.csv"
    table = pd.read_csv(made, index_col=0)
    turned = table.iloc[::-1, ::-1]  # found by the names of the classes, not by their places
    turned.to_csv(tmp_path / "cost.csv")
    grids = {"jtln_file": {"source": (1.0,), "alpha": (0.3,)}}
    given = run(
        tmp_path / "run", methods=("jtln_file",), grids=grids, cost=str(tmp_path / "cost.csv")
    )
    assert history(given, "jtln_file") == history(results, "jtln_ot", alpha=0.3)


def test_a_method_without_its_cost_does_not_apply(tmp_path):
    results = run(tmp_path / "run", methods=("target", "jtln_file"), grids={})
    assert set(results.chosen) == {"target"}
    assert "joint, cost from a file needs cost file" in (tmp_path / "run/report.md").read_text()
    assert not (tmp_path / "run/trials/extractor").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(index="2"), "one of its rows for each of the classes 0, 2, 3"),
        (lambda t: t.rename(columns={"4": "44"}), "one of its columns for each of the classes"),
        (lambda t: t.replace(t.iloc[1, 1], "far"), "row 2, column 4 is 'far'"),
        (lambda t: t.replace(t.iloc[1, 1], "inf"), "row 2, column 4 is 'inf'"),
    ],
)
def test_a_cost_that_does_not_fit_is_refused_before_anything_runs(
    finished, tmp_path, change, words
):
    table = pd.read_csv(finished[0] / "trials/cost/ot-seed0/cost.csv", index_col=0, dtype=str)
    change(table).to_csv(tmp_path / "cost.csv")
    with pytest.raises(RunError, match=words):
        run(tmp_path / "run", methods=("jtln_file",), grids={}, cost=str(tmp_path / "cost.csv"))
    assert not (tmp_path / "run/trials").exists()


def test_an_extractor_that_is_handed_in_is_used(finished, tmp_path):
    folder, results = finished
    weights = folder / "trials/extractor/weights.pt"
    given = run(tmp_path / "run", extractor=str(weights))
    assert given.test == results.test
    assert not (tmp_path / "run/trials/extractor").exists()


def test_every_method_starts_from_initial_weights(finished, tmp_path):
    weights = finished[0] / "trials/extractor/weights.pt"
    grids = {name: {"lr": (1e-30,)} for name in ("target", "joint")}
    results = run(tmp_path / "run", methods=("target", "joint"), grids=grids, initial=str(weights))
    start = torch.load(weights, weights_only=True)
    for trial in results.records:
        after = torch.load(tmp_path / "run/trials" / trial.name / "weights.pt", weights_only=True)
        for name, value in start.items():
            same = torch.equal(after[f"network.{name}"], value) if "head" not in name else True
            assert same


def test_costs_that_are_renewed_change_the_training(finished, tmp_path):
    renewed = run(
        tmp_path / "run",
        methods=("jtln_ot",),
        grids={"jtln_ot": TINY["grids"]["jtln_ot"]},
        refresh_cost=1,
    )
    before, after = (history(r, "jtln_ot", alpha=0.3) for r in (finished[1], renewed))
    assert before[0] == after[0]  # the first round has the first cost
    assert before[1]["transport"] != after[1]["transport"]


def test_rates_of_parts_and_frozen_parts():
    network = make_two_heads(Backbone("convnet", (2, 3, 4)), 1, 5, 3, seed=0)
    groups = rated_groups(network, {"block1": 0, "block2": 0.1}, 0.5)
    assert [group["lr"] for group in groups] == [0.05, 0.5]
    assert not any(p.requires_grad for p in network.network.block1.parameters())
    trained = sum(p.numel() for group in groups for p in group["params"])
    frozen = sum(p.numel() for p in network.network.block1.parameters())
    assert trained + frozen == sum(p.numel() for p in network.parameters())


def test_both_heads_learn_from_the_targets_images():
    network = make_two_heads(Backbone("convnet", (2, 3, 4)), 1, 5, 3, seed=0)
    module = JointTraining(
        network,
        source=1e-30,
        rates={},
        transport=LabelTransport(torch.rand(5, 3), alpha=1.0),
        objective=OBJECTIVES["cross_entropy"],
        outputs=3,
        schedule=Schedule(1, 0.1, 0.0),
        seed=0,
        shift=0,
        name="one step",
    )
    of_source, of_target = network.both(torch.randn(6, 1, 8, 8))
    module.transport(of_source, of_target).backward()
    for head in (network.source_head, network.network.head):
        assert head.weight.grad.abs().max() > 1e-4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layer_rates": {"block4": 1.0}}, "layer_rates must name parts of block1.*'block4'"),
        ({"layer_rates": {"head": -1.0}}, "layer_rates.head must be >= 0|greater"),
        ({"loss": "mse"}, "loss must be 'cross_entropy'"),
        ({"methods": ("jtln",)}, "methods must hold names of"),
        ({"refresh_cost": -1}, "refresh_cost must be >= 0"),
    ],
)
def test_settings_that_are_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        JointSettings(**(TINY | changes))
