"""Files and the lock: whole or absent, held or free."""

from __future__ import annotations

import errno
import json
import os
import pickle
import socket

import pytest
import torch

from kantorch.training import RunError
from kantorch.training.files import (
    read_json,
    read_tensors,
    write_atomic,
    write_tensors,
)
from kantorch.training.lock import folder_lock


def test_a_failed_write_leaves_the_old_file_and_no_partial_one(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"file \(3 bytes\): No space left"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_survive(tmp_path):
    path = tmp_path / "weights.pt"
    write_tensors(path, {"a": torch.arange(3), "b": [1, "x", None]})
    content = read_tensors(path)
    assert torch.equal(content["a"], torch.arange(3))
    assert content["b"] == [1, "x", None]


def test_damaged_checkpoints_are_refused_by_name(tmp_path):
    path = tmp_path / "last.ckpt"
    write_tensors(path, {"a": torch.arange(1000)})
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", b"hello", bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"last\.ckpt.*delete it"):
            read_tensors(path)


class Hostile:
    def __reduce__(self):
        return (os.mkdir, ("pwned",))


@pytest.mark.parametrize("legacy", [False, True])
def test_checkpoints_that_hold_code_are_refused(tmp_path, monkeypatch, legacy):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.ckpt"
    if legacy:
        path.write_bytes(pickle.dumps({"a": Hostile()}))
    else:
        torch.save({"a": Hostile()}, path)
    with pytest.raises(RunError, match=r"last\.ckpt"):
        read_tensors(path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_damaged_records_are_refused_by_name(tmp_path, text):
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(RunError, match=r"record\.json.*delete it"):
        read_json(path)


def test_a_held_folder_is_refused_with_its_holder(tmp_path):
    with folder_lock(tmp_path) as remark:
        assert remark is None
        with (
            pytest.raises(RunError, match=rf"process {os.getpid()} on host {socket.gethostname()}"),
            folder_lock(tmp_path),
        ):
            pytest.fail("the lock was given twice")
    with folder_lock(tmp_path) as remark:
        assert remark is None


def test_a_lock_outlives_neither_its_process_nor_an_error(tmp_path):
    (tmp_path / "run.lock").write_text(json.dumps({"pid": 1, "host": socket.gethostname()}))
    with folder_lock(tmp_path) as remark:
        assert "stale lock of process 1" in remark
    with pytest.raises(KeyError), folder_lock(tmp_path):
        raise KeyError
    with folder_lock(tmp_path) as remark:
        assert remark is None


def test_a_lock_of_another_host_needs_force(tmp_path):
    (tmp_path / "run.lock").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    with pytest.raises(RunError, match=r"elsewhere.*force-unlock"), folder_lock(tmp_path):
        pytest.fail("the lock was given")
    with folder_lock(tmp_path, force=True) as remark:
        assert "elsewhere" in remark


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="output folder"), folder_lock(tmp_path / "file" / "run"):
        pytest.fail("the lock was given")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"{", b"[1]", b'{"pid": 1}'])
def test_a_lock_file_that_nobody_can_read_needs_force(tmp_path, content):
    (tmp_path / "run.lock").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.lock.*force-unlock"), folder_lock(tmp_path):
        pytest.fail("the lock was given")
    with folder_lock(tmp_path, force=True) as remark:
        assert "unknown" in remark
    with folder_lock(tmp_path) as remark:
        assert remark is None


def test_a_file_system_without_locks_is_not_called_another_run(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match=r"cannot lock .*run\.lock: No locks"), folder_lock(tmp_path):
        pytest.fail("the lock was given")
