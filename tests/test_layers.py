"""Imports and includes point down only, and what Python and C++ both name has one meaning."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import kantorch
from kantorch.ops import ExactOutputs, ScalingOutputs, _values
from kantorch.ops._layout import METRICS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "kantorch"
CSRC = ROOT / "csrc"

# From the bottom; a module imports from its own layer and from those below.
PYTHON_LAYERS = [
    {"errors"},
    {"_core"},
    {"ops"},
    {"_check"},
    {"costs"},
    {"_result"},
    {"_solve"},
    {"config"},
    {"critics"},
    {"models", "regularizers", "w1"},
    {"training"},
    {"drivers"},
    {"cli", "__init__"},
]
RANK = {module: rank for rank, layer in enumerate(PYTHON_LAYERS) for module in layer}

# What the files of a folder of csrc/cpu may include from the others.
CPU_FOLDERS = {
    "runtime": set(),
    "simd": {"runtime"},
    "scaling": {"runtime", "simd"},
    "sinkhorn": {"runtime", "simd", "scaling"},
    "ipot": {"runtime", "simd", "scaling"},
    "exact": {"runtime", "simd"},
    "line": {"runtime"},
}


def imported(path: Path) -> set[str]:
    """The modules right below kantorch that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "kantorch":
            names = [f"kantorch.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [str(node.module)]
        else:
            assert not isinstance(node, ast.ImportFrom), f"{path}: relative import"
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("kantorch.")}
    return found


def included(path: Path) -> set[str]:
    return set(re.findall(r'#include\s+[<"]([^">]+)[">]', path.read_text(encoding="utf-8")))


def sources(folder: Path) -> list[Path]:
    found = sorted(
        path for path in folder.rglob("*") if path.suffix in {".cpp", ".hpp", ".cu", ".cuh"}
    )
    assert found
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_imports_point_down(path):
    module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    above = {name for name in imported(path) if name in RANK and RANK[name] > RANK[module]}
    assert not above
    if "_core" in imported(path):
        assert path == PACKAGE / "ops" / "_backend.py"


@pytest.mark.parametrize("folder", ["core", "cpu", "cuda"])
def test_kernels_know_neither_torch_nor_python(folder):
    devices = {"cpu", "cuda"} - {folder}
    for path in sources(CSRC / folder):
        for name in included(path):
            assert not re.match(r"(torch|ATen|c10|pybind11|bindings)/|Python\.h", name), path
            assert name.partition("/")[0] not in devices, path


def test_inline_ptx_is_in_one_file():
    """What the tests on the host cannot run."""
    found = [p for p in sources(CSRC / "cuda") if re.search(r"\basm\b", p.read_text("utf-8"))]
    assert found == [CSRC / "cuda" / "runtime" / "team_device.cuh"]


def test_folders_of_two_solvers_are_apart():
    folders = {path.name for path in (CSRC / "cpu").iterdir() if path.is_dir()}
    assert folders == set(CPU_FOLDERS)
    for folder, below in CPU_FOLDERS.items():
        for path in sources(CSRC / "cpu" / folder):
            for name in included(path):
                if match := re.match(r"cpu/(\w+)/", name):
                    assert match[1] in below | {folder}, path


def enumerators(header: str, name: str) -> dict[str, int]:
    body = re.search(rf"enum class {name}[^{{]*{{([^}}]*)}}", (CSRC / "core" / header).read_text())
    assert body
    code = re.sub(r"//[^\n]*", "", body[1])
    return {word: int(value) for word, value in re.findall(r"(\w+) = (\d+)", code)}


def test_status_is_the_cores():
    theirs = enumerators("status.hpp", "Status")
    ours = {status.name.lower(): int(status) for status in kantorch.Status}
    assert theirs == ours


def test_metrics_are_the_cores():
    ours = {name: number for number, name in enumerate(METRICS)}
    assert enumerators("view.hpp", "Metric") == ours


@pytest.mark.parametrize(
    ("header", "outputs"), [("exact.hpp", ExactOutputs), ("scaling.hpp", ScalingOutputs)]
)
def test_outputs_are_the_cores(header, outputs):
    """The binding fills the fields it knows by name: one that it does not know would stay uninitialised."""
    name = outputs.__name__.replace("Outputs", "Result")
    body = re.search(rf"struct {name} {{(.*?)}};", (CSRC / "core" / header).read_text(), re.DOTALL)
    assert body
    filled = re.findall(
        r"result\.(\w+) = field<[\w:]+>\(to, \"(\w+)\"\)",
        (CSRC / "bindings" / "problem.hpp").read_text(),
    )
    assert all(field == attribute for field, attribute in filled)
    fields = re.findall(r"\*\s*(\w+);", body[1])
    assert list(outputs._fields) == fields
    assert set(fields) <= {field for field, _ in filled}


def test_every_fault_has_its_words():
    words = Path(_values.__file__).read_text(encoding="utf-8")
    bindings = (CSRC / "bindings" / "register_check.cpp").read_text(encoding="utf-8")
    for fault in enumerators("check.hpp", "Fault"):
        assert f'"{fault}"' in bindings
        assert fault == "none" or f'"{fault}"' in words
