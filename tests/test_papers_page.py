"""docs/papers.md: every command parses, every object, test and file that it names is there."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
QUOTED = sorted(set(re.findall(r"`([^`]+)`", PAGE)))
COMMANDS = [text for text in QUOTED if text.startswith("kantorch ")]
OBJECTS = [text for text in QUOTED if re.fullmatch(r"kantorch(\.\w+)+", text)]
TESTS = [text for text in QUOTED if text.startswith("tests/")]
FILES = [text for text in QUOTED if re.fullmatch(r"(benchmarks|examples)/\w+\.py", text)]
SETTINGS = re.findall(r"setting `(\w+)`", PAGE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_parsed(command, monkeypatch, tmp_path):
    """As the command line does it, up to the study that it would run."""
    from kantorch.cli import main
    from kantorch.drivers import _command

    made = []

    class Told(Exception):
        pass

    class Study:
        def __init__(self, driver, folder, **options):
            made.append(driver.settings)

        def run(self):
            raise Told

    monkeypatch.setattr(_command, "Study", Study)
    with pytest.raises(Told):
        main([*shlex.split(command)[1:], "--output", str(tmp_path / "run")])
    assert len(made) == 1


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_is_there(name):
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        assert hasattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("name", TESTS)
def test_every_test_is_there(name):
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert function in functions if function else any(f.startswith("test_") for f in functions)


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_there(name):
    assert (ROOT / name).is_file()


def test_every_setting_is_one():
    from kantorch.drivers import JointSettings, TransferSettings

    known = {*TransferSettings.model_fields, *JointSettings.model_fields}
    assert SETTINGS
    assert set(SETTINGS) <= known


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target


def numbers(text):
    """1 to 5 of "eqs. 1 to 5", and 1 and 3 of "eqs. 1 and 3"."""
    found = []
    for first, last in re.findall(r"(\d+)(?: to (\d+))?", text):
        found += range(int(first), int(last or first) + 1)
    return set(found)


@pytest.mark.parametrize(
    ("title", "kind", "wanted"),
    [
        ("Representation", r"eqs?\. ([\d, toand]+)", range(1, 8)),
        ("Representation", r"tables? ([\d, toand]+)", range(1, 3)),
        ("Representation", r"figures? ([\d, toand]+)", range(1, 4)),
        ("Optimal Transport for Deep", r"eqs?\. ([\d, toand]+)", range(1, 17)),
        ("Optimal Transport for Deep", r"tables? ([\d, toand]+)", range(1, 3)),
        ("Optimal Transport for Deep", r"figures? ([\d, toand]+)", range(1, 2)),
    ],
)
def test_no_equation_table_or_figure_is_left_out(title, kind, wanted):
    (section,) = [part for part in PAGE.split("\n## ") if part.startswith(title)]
    items = [row.split("|")[1] for row in section.splitlines() if row.startswith("| ")]
    found = set().union(*(numbers(text) for row in items for text in re.findall(kind, row)))
    assert set(wanted) <= found


def test_the_page_has_all_kinds():
    assert min(map(len, (COMMANDS, OBJECTS, TESTS, FILES))) > 1
    assert len(COMMANDS) > 30
