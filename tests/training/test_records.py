"""Records and weights of a run folder that were damaged: refused by name, with what to do."""

from __future__ import annotations

import json

import pytest
import torch

from kantorch.training import RunError
from training.tiny import run_transfer, tiny

TRIAL = "trials/target/optimal-alpha0.1-lr0.05-seed1"


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(history=[]), "history"),
        (lambda r: r.update(history={"step": 2}), "history"),
        (lambda r: r["history"].pop(), "history"),
        (lambda r: r["history"].__setitem__(1, [1]), "history"),
        (lambda r: r["history"][-1].update(step=7), "step"),
        (lambda r: r["history"][-1].pop("validation_accuracy"), "validation_accuracy"),
        (lambda r: r["history"][-1].update(validation_accuracy="1"), "validation_accuracy"),
        (lambda r: r["history"][-1].update(validation_accuracy=True), "validation_accuracy"),
        (lambda r: r["history"][0].update(validation_accuracy=1.5), "validation_accuracy"),
        (lambda r: r["history"][0].update(cross_entropy=float("nan")), "cross_entropy"),
        (lambda r: r["history"][0].pop("validation_trace_pool"), "validation_trace_pool"),
        (lambda r: r.update(trial="target/optimal-alpha0.01-lr0.05-seed1"), "trial"),
        (lambda r: r.pop("seconds"), "seconds"),
        (lambda r: r.update(seconds=-1), "seconds"),
        (lambda r: r.update(seconds=10**400), "seconds"),
        (lambda r: r.update(traces=[1]), "traces"),
        (lambda r: r["traces"]["pool"].pop(), "traces"),
        (lambda r: r["traces"]["pool"].__setitem__(0, None), "traces"),
        (lambda r: r["traces"].pop("pool"), "traces"),
    ],
)
def test_a_damaged_record_is_named_with_its_fault(copied, change, words):
    edit(copied / TRIAL / "record.json", change)
    with pytest.raises(
        RunError, match=rf"optimal-alpha0\.1-lr0\.05-seed1/record\.json.*{words}.*delete"
    ):
        run_transfer(tiny(), copied)


@pytest.mark.parametrize(
    ("value", "words"),
    [("0.5", "must be a number"), (2.0, "must be a number"), (float("nan"), "must be a number")],
)
def test_a_damaged_test_is_named_with_its_fault(copied, value, words):
    edit(copied / "test.json", lambda r: r.update({"target/none-lr0.05-seed0": value}))
    with pytest.raises(RunError, match=rf"test\.json.*none-lr0\.05-seed0.*{words}.*delete"):
        run_transfer(tiny(), copied)


def scaled(path):
    torch.save({"a": torch.ones(3)}, path)


def smaller(path):
    weights = torch.load(path, weights_only=True)
    torch.save(weights | {"head.bias": weights["head.bias"][:-1]}, path)


def not_a_tensor(path):
    weights = torch.load(path, weights_only=True)
    torch.save(weights | {"head.bias": 3}, path)


def nan(path):
    weights = torch.load(path, weights_only=True)
    torch.save(weights | {"head.bias": weights["head.bias"] * float("nan")}, path)


@pytest.mark.parametrize(
    "damage",
    [
        scaled,
        smaller,
        not_a_tensor,
        nan,
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
    ],
)
@pytest.mark.parametrize("where", ["trials/source", "trials/target/none-lr0.05-seed0"])
def test_damaged_weights_are_named_and_the_advice_helps(copied, finished, where, damage):
    damage(copied / where / "weights.pt")
    # So that the weights are needed.
    (copied / "test.json").unlink()
    (copied / TRIAL / "record.json").unlink()
    with pytest.raises(RunError, match=rf"{where}/weights\.pt.*delete .*{where}/record\.json"):
        run_transfer(tiny(), copied)
    (copied / where / "record.json").unlink()
    run_transfer(tiny(), copied)
    assert (copied / "results.csv").read_bytes() == (finished[0] / "results.csv").read_bytes()
