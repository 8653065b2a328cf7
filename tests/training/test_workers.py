"""Trials in several processes: the same numbers, and no process that outlives its study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from kantorch.training import ConfigError, RunError
from scripts import HANGS, LISTEN
from training.tiny import run_transfer, tiny

NUMBERS = ("metrics.csv", "results.csv", "differences.csv", "test.json")


def numbers(folder):
    return {name: (folder / name).read_bytes() for name in NUMBERS}


def test_the_numbers_are_the_same_for_every_number_of_workers(finished, tmp_path):
    run_transfer(tiny(), tmp_path / "run", workers=2)
    assert numbers(tmp_path / "run") == numbers(finished[0])


@pytest.mark.parametrize("workers", [0, -1])
def test_a_number_of_workers_that_cannot_be_is_refused(tmp_path, workers):
    with pytest.raises(ConfigError, match=rf"workers must be >= 1.*{workers}"):
        run_transfer(tiny(), tmp_path / "run", workers=workers)
    assert not (tmp_path / "run").exists()


def test_what_stops_a_worker_stops_the_study(copied):
    weights = copied / "trials" / "source" / "weights.pt"
    weights.write_bytes(weights.read_bytes()[:-50])
    for record in copied.glob("trials/target/*/record.json"):
        record.unlink()
    with pytest.raises(RunError, match=r"source/weights\.pt.*train again"):
        run_transfer(tiny(), copied, workers=2)
    assert not list(copied.glob("trials/target/*/record.json"))


def children(pid):
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        try:
            with open(f"/proc/{entry}/stat") as file:  # noqa: PTH123
                after = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after[1]) == pid and after[0] != "Z":
            found.append(int(entry))
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition):
    end = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


COMMAND = LISTEN + "import sys; from kantorch.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")  # noqa: PTH110
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_its_study(finished, tmp_path, number):
    """A worker that went on after the lock is gone would write into somebody else's run."""
    folder, settings = tmp_path / "run", tmp_path / "own.yaml"
    settings.write_text(yaml.safe_dump(tiny().to_mapping()))
    arguments = [str(settings), "--output", str(folder), "--workers", "2", "--no-progress"]
    study = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "transfer", *arguments], stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: list(folder.glob("trials/target/*")))
        workers = children(study.pid)
        assert len(workers) >= 2
        study.send_signal(number)
        _, error = study.communicate(timeout=HANGS)
        wait_until(lambda: not any(map(alive, workers)))
    finally:
        study.kill()
        study.wait()
    assert study.returncode == {"SIGKILL": -9, "SIGTERM": 1, "SIGINT": 130}[number.name]
    assert b"Traceback" not in error
    run_transfer(tiny(), folder)
    assert numbers(folder) == numbers(finished[0])
