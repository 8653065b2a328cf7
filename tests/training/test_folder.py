"""The run folder: whose settings it holds, what a fresh start removes, and what it leaves alone."""

from __future__ import annotations

import json
import os

import pytest
import yaml

from kantorch.drivers import Transfer
from kantorch.training import ConfigError, NonFiniteError, RunError
from kantorch.training.files import TEMPORARY
from kantorch.training.folder import OUTPUTS, RECORDS, open_folder
from kantorch.training.module import PenalizedNetwork
from training.tiny import identity, run_transfer, tiny

NUMBERS = ("metrics.csv", "results.csv", "test.json")


def numbers(folder):
    return {name: (folder / name).read_bytes() for name in NUMBERS}


def left(folder):
    """Files of a run, besides its settings and its lock."""
    return [path for name in (*RECORDS, *OUTPUTS, *Transfer.pictures) for path in folder.glob(name)]


def test_every_file_of_a_run_is_known(finished):
    found = {path for path in finished[0].rglob("*") if path.is_file()}
    others = found - set(left(finished[0]))
    assert {path.name for path in others} == {"config.yaml", "run.lock", ".run.lock"}


def test_changed_settings_are_refused_with_a_difference(copied):
    before = numbers(copied)
    with pytest.raises(RunError, match=r"momentum: 0\.9 -> 0\.5"):
        run_transfer(tiny(momentum=0.5), copied)
    assert numbers(copied) == before


def test_force_starts_afresh(copied):
    before = numbers(copied)
    changed = tiny(momentum=0.5)
    run_transfer(changed, copied, force=True)
    assert numbers(copied) != before
    assert yaml.safe_load((copied / "config.yaml").read_text())["momentum"] == 0.5


@pytest.mark.parametrize("settings", ["other", "absent", "unreadable"])
def test_force_leaves_no_file_of_the_run_before(copied, monkeypatch, settings):
    """Also when the new run fails: then nothing may look like its result."""

    def fail(*arguments, **named):
        raise NonFiniteError

    if settings == "absent":
        (copied / "config.yaml").unlink()
    elif settings == "unreadable":
        (copied / "config.yaml").write_bytes(b"\xff: [")
    monkeypatch.setattr(PenalizedNetwork, "training_step", fail)
    changed = tiny(momentum=0.5) if settings == "other" else tiny()
    with pytest.raises(NonFiniteError):
        run_transfer(changed, copied, force=True)
    assert [path for path in left(copied) if "logs" not in path.parts] == []
    assert len(list(copied.rglob("events.out.tfevents.*"))) <= 1  # that of the new run


@pytest.mark.parametrize(
    "record", ["test.json", "trials/source/record.json", "trials/target/a/last.ckpt"]
)
def test_records_of_unknown_settings_are_refused_or_removed(tmp_path, record):
    path = tmp_path / record
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({}))
    with pytest.raises(RunError, match=rf"{record} but no config\.yaml.*--force"):
        open_folder(tmp_path, identity(tiny()), force=False)
    assert path.exists()
    open_folder(tmp_path, identity(tiny()), force=True)
    assert not path.exists()


def test_a_fresh_start_touches_no_file_that_is_not_a_runs(copied):
    """The output folder may be a project's own, with `source` and `logs` of another kind."""
    names = (
        "trials/source/main.c",
        "logs/server.log",
        "trials/notes.txt",
        "film.mp4.partial",
        "a/record.json",
    )
    for name in names:
        (copied / name).parent.mkdir(exist_ok=True, parents=True)
        (copied / name).write_text("mine")
    open_folder(copied, identity(tiny(momentum=0.5)), Transfer.pictures, force=True)
    assert not left(copied)
    assert [(copied / name).read_text() for name in names] == ["mine"] * len(names)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may remove everything")
def test_a_record_that_cannot_be_removed_stops_the_run(copied):
    source = copied / "trials" / "source"
    source.chmod(0o500)
    try:
        with pytest.raises(RunError, match=r"cannot remove .*source/record\.json"):
            open_folder(copied, identity(tiny(momentum=0.5)), Transfer.pictures, force=True)
    finally:
        source.chmod(0o700)


def test_a_folder_in_the_place_of_a_record_is_named(tmp_path):
    (tmp_path / "test.json").mkdir()
    with pytest.raises(RunError, match=r"cannot remove .*test\.json"):
        open_folder(tmp_path, identity(tiny()), force=True)


def test_force_keeps_a_run_of_the_same_settings(copied, monkeypatch):
    monkeypatch.setattr(Transfer, "run", None)
    before = numbers(copied)
    run_transfer(tiny(), copied, force=True)
    assert numbers(copied) == before


def test_another_world_size_is_refused(copied):
    with pytest.raises(RunError, match="world_size: 1 -> 2"):
        open_folder(copied, identity(tiny(), 2), force=False)


def test_batches_that_processes_cannot_share_evenly_are_refused():
    with pytest.raises(ConfigError, match=r"batch_size must be a multiple .*3"):
        Transfer(tiny()).check(3)


def test_partial_files_of_a_killed_run_are_removed(copied):
    partial = copied / "trials" / "source" / f"last.ckpt{TEMPORARY}"
    partial.write_bytes(b"half")
    open_folder(copied, identity(tiny()), force=False)
    assert not partial.exists()
