"""Two processes that train together: the first one alone decides, reads and writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed

from kantorch.drivers import Transfer
from kantorch.training import RunError
from kantorch.training.lock import folder_lock
from kantorch.training.ranks import is_writer, world_size
from scripts import HANGS
from training.tiny import run_transfer, tiny

# No shift: each process draws its own.
SETTINGS = tiny(seeds=1, shift=0).to_mapping()


def together(base, *orders):
    """What came of the orders, per process; see together.py."""
    (base / "orders.json").write_text(json.dumps([{"settings": SETTINGS} | o for o in orders]))
    script = Path(__file__).with_name("together.py")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *(str(script), str(base)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        printed, _ = process.communicate(timeout=HANGS)
    finally:
        process.terminate()  # torchrun then ends its children
        process.wait()
    assert process.returncode == 0, printed
    found = [json.loads((base / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [process["folder"] for process in found] == [True, False]
    return list(zip(*(process["outcomes"] for process in found), strict=True))


needs_gloo = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="this build of torch joins no processes by gloo",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which two processes have trained, and what came of it in each."""
    base = tmp_path_factory.mktemp("together")
    (outcomes,) = together(base, {})
    return base / "run", outcomes


@needs_gloo
def test_a_loss_that_diverges_in_one_process_fails_the_trial_in_all(tmp_path):
    """Neither waits for the other, and what is left of the study goes on."""
    ((first, second),) = together(tmp_path, {"nan_in": 1})
    assert "error" not in first
    assert first == second
    assert set(first["failed"]) == {
        trial.name for stage in Transfer(tiny(seeds=1)).stages()[1:] for trial in stage.trials
    }
    assert all("must be finite, got nan" in why for why in first["failed"].values())
    assert first["test"] == {}
    assert len(first["records"]) == 1  # the source


@needs_gloo
def test_processes_end_with_the_same_results(trained):
    folder, (first, second) = trained
    assert "error" not in first
    assert first == second
    assert len(first["test"]) == 3
    assert first["test"] == json.loads((folder / "test.json").read_text())
    assert (
        json.loads((folder / "trials" / "source" / "record.json").read_text()) in first["records"]
    )
    assert (folder / "report.md").exists()


@needs_gloo
def test_processes_train_as_one_does(trained, tmp_path):
    """The mean gradient of two halves of a batch is that of the batch, up to rounding."""
    config = tiny(seeds=1, shift=0, methods=("none", "l2sp"))
    run_transfer(config, tmp_path / "alone")
    for part in ("source", "target/none-lr0.05-seed0", "target/l2sp-alpha0.1-lr0.05-seed0"):
        mine, theirs = (
            torch.load(folder / "trials" / part / "weights.pt", weights_only=True)
            for folder in (tmp_path / "alone", trained[0])
        )
        torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-6)


@needs_gloo
def test_the_first_process_decides_and_the_others_follow(trained, tmp_path):
    """On a folder of its own: what to repeat, what to refuse, what to remove."""
    shutil.copytree(trained[0], tmp_path / "run")
    (tmp_path / "run" / "trials" / "target" / "l2sp-alpha0.1-lr0.05-seed0" / "record.json").unlink()
    (tmp_path / "run" / "test.json").unlink()
    other = SETTINGS | {"momentum": 0.5}
    finished, repeated, refused, afresh, unequal = together(
        tmp_path,
        {},
        {},
        {"settings": other},
        {"settings": other, "force": True},
        {"only-1": {"momentum": 0.6}},
    )
    before = trained[1][0]
    for first, second in (finished, repeated, afresh):
        assert "error" not in first
        assert first == second
    assert finished[0]["test"] == repeated[0]["test"] == before["test"]
    for name in ("history", "traces"):
        for old, new in zip(before["records"], finished[0]["records"], strict=True):
            assert old[name] == new[name]
    assert afresh[0]["records"] != before["records"]
    for outcome in refused:
        assert "momentum: 0.9 -> 0.5" in outcome["error"]
    for outcome in unequal:
        assert "momentum: 0.9 -> 0.6" in outcome["error"]


@needs_gloo
def test_no_process_passes_a_lock_or_a_damaged_record(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "run")
    (tmp_path / "run" / "trials" / "target" / "none-lr0.05-seed0" / "record.json").write_text("{")
    with folder_lock(tmp_path / "run"):
        (locked,) = together(tmp_path, {})
    (damaged,) = together(tmp_path, {})
    for outcome in locked:
        assert f"process {os.getpid()}" in outcome["error"]
    for outcome in damaged:
        assert "none-lr0.05-seed0/record.json" in outcome["error"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK"),
        ({"WORLD_SIZE": "2", "RANK": "-1"}, "RANK"),
        ({"WORLD_SIZE": "3", "RANK": "0", "LOCAL_WORLD_SIZE": "2"}, "LOCAL_WORLD_SIZE"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "torchrun"),
    ],
)
def test_variables_that_no_launcher_sets_are_refused(tmp_path, monkeypatch, variables, words):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match=words):
        run_transfer(tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_process_alone_writes(monkeypatch):
    """A rank that some shell has left in the environment is nobody's."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("RANK", "1")
    assert world_size() == 1
    assert is_writer()
