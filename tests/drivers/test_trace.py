"""Traces of finished runs: the plans of their networks, and runs that cannot be read."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from kantorch.drivers import (
    Distill,
    DistillSettings,
    Trace,
    TraceSettings,
    Transfer,
    TransferSettings,
)
from kantorch.training import RunError, Study
from kantorch.training.model import LAYERS
from training.tiny import TINY, run_transfer, tiny

# One step from the start.
STEP = TINY | {"methods": ("none",), "seeds": 1, "steps": 1, "rounds": 1, "learning_rates": (1e-4,)}
SIZES = {"batch_sizes": (4, 16)}


def trace(folder, runs, **changes):
    settings = TraceSettings(runs=tuple(map(str, runs)), **(SIZES | changes))
    return Study(Trace(settings), folder, progress=False).run()


def test_every_run_has_a_curve(finished, tmp_path):
    run = finished[0]
    results = trace(tmp_path / "trace", [run, run])
    first, second = results.records.values()
    assert first["traces"] == second["traces"]
    assert list(first["traces"]) == list(LAYERS)
    assert all(0 <= value <= 1 + 1e-9 for value in first["traces"].values())
    assert torch.tensor(first["plan"]).sum().item() == pytest.approx(1)
    assert len(pd.read_csv(tmp_path / "trace/traces.csv")) == 2 * len(LAYERS)
    assert set(pd.read_csv(tmp_path / "trace/batches.csv")["batch"]) == {4, 16}
    for name in ("depth", "plan", "batches", "training"):
        assert (tmp_path / f"trace/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_network_that_was_not_moved_kept_every_neuron(copied, tmp_path):
    source = torch.load(copied / "trials/source/weights.pt", weights_only=True)
    (name,) = (copied / "trials/target").glob("l2sp-*-seed0")
    target = torch.load(name / "weights.pt", weights_only=True)
    torch.save(
        {k: target[k] if k.startswith("head") else v for k, v in source.items()},
        name / "weights.pt",
    )
    (record,) = trace(tmp_path / "trace", [copied]).records.values()
    assert record["traces"] == pytest.approx(dict.fromkeys(LAYERS, 1.0))
    assert all(
        row == pytest.approx([0.0, 1.0]) for rows in record["batches"].values() for row in rows
    )


def test_a_student_is_compared_with_its_own_start(tmp_path):
    """Of `distill` that is not the teacher, and of a permuted start not the first network."""
    kinds = {
        "distill": Distill(DistillSettings.from_mapping(STEP | {"teacher_channels": (3, 3, 6)})),
        "permuted": Transfer(TransferSettings(**STEP, permuted=True)),
    }
    for name, driver in kinds.items():
        Study(driver, tmp_path / name, progress=False).run()
    runs = [tmp_path / name for name in kinds]
    for record in trace(tmp_path / "trace", runs, method="none").records.values():
        assert record["traces"] == pytest.approx(dict.fromkeys(LAYERS, 1.0))


def test_plans_are_of_so_many_images_at_most(finished, tmp_path):
    few, all_of_them = (
        next(iter(trace(tmp_path / str(most), [finished[0]], examples=most).records.values()))
        for most in (20, 3000)
    )
    assert few["examples"] == 20
    assert all_of_them["examples"] == len(Transfer(tiny()).tasks.pool())


def test_a_run_without_the_optimal_regularizer_has_no_curve_of_it(tmp_path):
    run = tmp_path / "run"
    run_transfer(tiny(methods=("l2sp",), seeds=1), run)
    (record,) = trace(tmp_path / "trace", [run]).records.values()
    assert record["during"] is None


def test_runs_that_cannot_be_read_are_named(copied, tmp_path):
    with pytest.raises(RunError, match=r"method must be one that was compared in .*'bss'"):
        trace(tmp_path / "trace", [copied], method="bss")
    with pytest.raises(
        RunError, match=r"runs must hold folders of kantorch transfer, .*nothing has no"
    ):
        trace(tmp_path / "trace", [tmp_path / "nothing"])
    trace(tmp_path / "first", [copied])
    with pytest.raises(RunError, match=r"runs must hold folders of .*first is of trace"):
        trace(tmp_path / "trace", [tmp_path / "first"])
    (copied / "test.json").unlink()
    with pytest.raises(RunError, match=r"runs must hold finished folders"):
        trace(tmp_path / "trace", [copied])
    assert not (tmp_path / "trace").exists()
