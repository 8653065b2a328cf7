"""A finished tiny run that several tests read, and copies of it to damage."""

from __future__ import annotations

import shutil

import pytest

from training.tiny import run_transfer, tiny


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """An uninterrupted run: its folder and its results. Not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, run_transfer(tiny(), folder)


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run's folder."""
    return shutil.copytree(finished[0], tmp_path / "copy")
