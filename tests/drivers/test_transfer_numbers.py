"""The numbers of a study are those that the driver gave before it stood on the frame (commit 7783000)."""

from __future__ import annotations

import pytest

from kantorch.drivers import Transfer, TransferSettings
from kantorch.training import Study

SETTINGS = {
    "channels": (8, 8, 16),
    "layers": ("block2", "pool"),
    "pretrain_steps": 120,
    "steps": 20,
    "rounds": 2,
    "seeds": 1,
    "grids": {
        "l2": {"alpha": (0.01,)},
        "l2sp": {"alpha": (0.01, 1.0)},
        "identity": {"alpha": (0.1,)},
        "uniform": {"alpha": (0.1,)},
        "optimal": {"alpha": (0.1,)},
    },
    "accelerator": "cpu",
}
SOURCE = (1.22193242, 0.651685)
# Of the last round: cross-entropy, penalty, accuracy, traces of both layers.
TARGET = {
    ("none", None): (1.6049177, 0, 0.26, 0.375, 0.1875),
    ("l2", 0.01): (1.6052237, 0.098548933, 0.26, 0.375, 0.1875),
    ("l2sp", 0.01): (1.6047466, 0.0097230899, 0.27, 0.375, 0.1875),
    ("l2sp", 1.0): (1.6083422, 0.025611562, 0.18, 1, 1),
    ("identity", 0.1): (1.5802135, 0.076452184, 0.18, 1, 1),
    ("uniform", 0.1): (1.5996799, 0.52919687, 0.34, 0.5, 0.25),
    ("optimal", 0.1): (1.5802097, 0.076713904, 0.17, 1, 1),
}
TEST = {
    "none": 0.245536,
    "l2": 0.245536,
    "l2sp": 0.25,
    "identity": 0.227679,
    "uniform": 0.305804,
    "optimal": 0.225446,
}


def test_numbers_are_those_of_before(tmp_path):
    settings = TransferSettings(**SETTINGS)
    results = Study(Transfer(settings), tmp_path / "run", progress=False).run()
    last = {trial: record["history"][-1] for trial, record in results.records.items()}
    found = {}
    for trial, row in last.items():
        if trial.stage == "source":
            source = row["cross_entropy"], row["validation_accuracy"]
            continue
        key = trial.method, dict(trial.params).get("alpha")
        traces = (row[f"validation_trace_{layer}"] for layer in settings.layers)
        penalty = row.get("penalty", 0.0)
        found[key] = (row["cross_entropy"], penalty, row["validation_accuracy"], *traces)
    assert source == pytest.approx(SOURCE, rel=1e-4)
    assert set(found) == set(TARGET)
    for key, numbers in found.items():
        # Sums over batches in another order, on another processor, move the last digits alone.
        assert numbers[:2] == pytest.approx(TARGET[key][:2], rel=1e-3), key
        assert numbers[2:] == pytest.approx(TARGET[key][2:], abs=0.021), key
    tested = {trial.method: value for trial, value in results.test.items()}
    assert tested == pytest.approx(TEST, abs=0.01)
