"""Each example runs as its text says, and does what it shows."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"

pytest.importorskip("lightning", reason="examples need the extra train")


def run(name):
    with warnings.catch_warnings():
        # Lightning warns of its own small loaders and of steps without a logger.
        warnings.simplefilter("ignore")
        return runpy.run_path(str(FOLDER / f"{name}.py"))["main"]()


def test_every_example_has_a_test():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {file.stem for file in FOLDER.glob("*.py")} <= tested


def test_plain_loop():
    assert run("plain_loop") > 0.9


def test_lightning_module():
    logged = run("lightning_module")
    assert list(logged) == ["1"]
    assert 0 < logged["1"] < 1


def test_trainer_with_loss():
    losses = run("trainer_with_loss")
    assert losses[-1] < 0.8 * losses[0]


def test_vision_transformer():
    assert run("vision_transformer") == {"block": (24, 32), "head": (24, 32)}


def test_features_in_hand():
    optimal, identity, uniform = run("features_in_hand")
    assert optimal < 1e-4
    assert min(identity, uniform) > 1


def test_resume():
    straight, resumed = run("resume")
    assert straight == resumed


@pytest.mark.parametrize("launcher", [[], ["-m", "torch.distributed.run", "--nproc-per-node=2"]])
def test_two_processes(launcher):
    # Their own interpreters: what is spawned imports the script by its name.
    command = [sys.executable, *launcher, str(FOLDER / "two_processes.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert launcher or "0.weight" in done.stdout
