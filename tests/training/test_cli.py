"""The command line: what it prints, its exit status, and what it does without its extra."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from kantorch.cli import main
from kantorch.training.module import PenalizedNetwork
from scripts import HANGS
from training.tiny import tiny


def test_transfer_prints_the_table_of_a_finished_run(copied, capsys):
    config = copied / "config.yaml"
    assert main(["transfer", str(config), "--output", str(copied), "--no-progress"]) == 0
    printed = capsys.readouterr().out
    assert "| optimal transport" in printed
    assert str(copied / "report.md") in printed


def test_an_ascii_terminal_gets_the_same_table(copied):
    """A name that it cannot show is escaped."""
    folder = copied.rename(copied.with_name("lauf-\N{LATIN SMALL LETTER U WITH DIAERESIS}"))
    arguments = [str(folder / "config.yaml"), "--output", str(folder), "--no-progress"]
    done = subprocess.run(
        [sys.executable, "-m", "kantorch.cli", "transfer", *arguments],
        capture_output=True,
        check=False,
        timeout=HANGS,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.decode("ascii")
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    assert "+-" in table[-1]
    assert "lauf-\\" in printed


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "no-backend"])
def test_pictures_need_no_backend_of_the_environment(copied, backend):
    """A notebook hands its own on to every process that it starts, installed there or not."""
    for picture in copied.glob("*.png"):
        picture.unlink()
    arguments = [str(copied / "config.yaml"), "--output", str(copied), "--no-progress"]
    done = subprocess.run(
        [sys.executable, "-m", "kantorch.cli", "transfer", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
        env={**os.environ, "MPLBACKEND": backend},
    )
    assert done.returncode == 0, done.stderr
    assert len(list(copied.glob("*.png"))) == 3


def test_a_users_own_backend_stays_his():
    code = (
        "import os, kantorch.training, matplotlib; "
        "print(matplotlib.rcParams['backend'], os.environ['MPLBACKEND'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MPLBACKEND": "svg"},
    )
    assert done.stdout.split() == ["svg", "svg"]


def test_settings_and_records_are_utf8_in_every_locale(tmp_path):
    code = (
        "import sys; from pathlib import Path; from kantorch.training._yaml import load_yaml; "
        "from kantorch.training.files import read_json; p, q = map(Path, sys.argv[1:]); "
        "print(ascii(load_yaml(p)['data'] + read_json(q)['a']))"
    )
    settings, record = tmp_path / "config.yaml", tmp_path / "record.json"
    settings.write_bytes("data: \N{GREEK SMALL LETTER ALPHA}.npz".encode())
    record.write_bytes('{"a": "\N{GREEK SMALL LETTER ALPHA}"}'.encode())
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(settings), str(record)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **locale},
    )
    assert done.stdout.strip() == r"'\u03b1.npz\u03b1'"


NONE = Path("target") / "none-lr0.05-seed0"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
UMLAUT = "\N{LATIN SMALL LETTER U WITH DIAERESIS}"


@pytest.fixture
def named_data(tmp_path):
    """Settings, in UTF-8, of a tiny run on data whose name is not ASCII; and that name."""
    data = tmp_path / f"{UMLAUT}.npz"
    images = np.random.default_rng(1).random((120, 9, 9))
    np.savez(data, images=images, labels=np.repeat(np.arange(4), 30))
    own = {"source_classes": (0, 1), "target_classes": (2, 3), "methods": ("none",)}
    settings = tiny(data=str(data), seeds=1, **own).to_mapping()
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), "utf-8")
    return tmp_path / "own.yaml", data


def transfer(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "kantorch.cli", "transfer", "--no-progress", *map(str, arguments)],
        capture_output=True,
        check=False,
        timeout=HANGS,
        env={**os.environ, **environment},
    )


def test_names_that_a_locale_cannot_show_are_names_of_files(named_data, tmp_path):
    """A run goes on in another locale, and from the file or the command line alike."""
    settings, data = named_data
    folder = tmp_path / "run"
    option = "--data", data
    for locale, given in ((ASCII, ()), (ASCII, option), ({"PYTHONUTF8": "1"}, option)):
        done = transfer(settings, "--output", folder, *given, **locale)
        assert done.returncode == 0, done.stderr
    assert str(data) in (folder / "report.md").read_text("utf-8")
    assert yaml.safe_load((folder / "config.yaml").read_text("utf-8"))["data"] == str(data)


def test_a_folder_that_tensorboard_cannot_name_is_refused(named_data, tmp_path):
    settings, _ = named_data
    done = transfer(settings, "--output", tmp_path / UMLAUT, **ASCII)
    assert done.returncode == 1
    assert b"TensorBoard cannot write" in done.stderr
    assert b"PYTHONUTF8=1" in done.stderr
    assert b"Traceback" not in done.stderr


def test_options_win_over_the_file(copied, capsys):
    config = copied / "config.yaml"
    arguments = ["--output", str(copied), "--steps", "12", "--seeds", "1"]
    assert main(["transfer", str(config), *arguments]) == 1
    error = capsys.readouterr().err
    assert "steps: 6 -> 12" in error
    assert "seeds: 2 -> 1" in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "none,l3"], "methods must"),
        (["--labels-per-class", "0"], "labels_per_class must be >= 1"),
        (["nothing.yaml"], "nothing.yaml"),
        (["--data", "nothing.npz"], "nothing.npz"),
        (["--output", "/dev/null/run"], "/dev/null/run"),
    ],
)
def test_errors_are_one_message_and_a_status(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["transfer", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("kantorch: error: ")
    assert words in error
    assert "Traceback" not in error


@pytest.mark.parametrize("where", ["setup", "training_step", "test_step"])
def test_ctrl_c_has_its_own_status_and_is_heard_again(copied, monkeypatch, capsys, where):
    """Lightning ignores further ones while it ends; a notebook lives on."""

    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    (copied / "test.json").unlink()
    if where == "training_step":
        (copied / "trials" / NONE / "record.json").unlink()
    monkeypatch.setattr(PenalizedNetwork, where, interrupt)
    before = signal.getsignal(signal.SIGINT)
    config = str(copied / "config.yaml")
    try:
        assert main(["transfer", config, "--no-progress", "--output", str(copied)]) == 130
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)
    assert "repeat the command" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["training_step", "validation_step", "test_step"])
def test_a_terminated_run_is_no_success(copied, monkeypatch, capsys, where):
    """A batch system tells the end of its time by SIGTERM."""
    real = getattr(PenalizedNetwork, where)

    def terminated(*arguments, **named):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **named)

    (copied / "test.json").unlink()
    (copied / "trials" / NONE / "record.json").unlink()
    monkeypatch.setattr(PenalizedNetwork, where, terminated)
    config = str(copied / "config.yaml")
    assert main(["transfer", config, "--no-progress", "--output", str(copied)]) == 1
    assert "SIGTERM; repeat the command" in capsys.readouterr().err
    assert not (copied / "test.json").exists()


def test_info_shows_the_configuration(capsys):
    import kantorch

    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    for name, value in kantorch.show_config().items():
        assert f"{name}: {value}" in printed


def test_help_names_every_option(capsys):
    assert main(["transfer", "--help"]) == 0
    printed = capsys.readouterr().out
    for option in ("--output", "--seeds", "--methods", "--solver", "--force"):
        assert option in printed


@pytest.mark.parametrize("missing", ["cyclopts", "sklearn.datasets"])
def test_a_missing_extra_is_named_with_its_cure(missing, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, missing, None)
    assert main(["transfer", "--no-progress", "--output", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert f"needs {missing.partition('.')[0]}," in error
    assert 'pip install "kantorch[train]"' in error


def test_without_any_extra_the_command_says_so():
    code = (
        "import sys; sys.modules['lightning'] = None; "
        "from kantorch.cli import main; sys.exit(main(['transfer']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=HANGS
    )
    assert done.returncode == 1
    assert "needs lightning, which is not installed" in done.stderr


def test_import_kantorch_does_not_import_the_drivers_libraries():
    code = (
        "import sys, kantorch; "
        "print([m for m in ('lightning', 'sklearn', 'matplotlib', 'torchmetrics', 'cyclopts', "
        "'yaml', 'kantorch.training') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
