"""The smallest configuration that runs through every part of a transfer run."""

from __future__ import annotations

from kantorch.training import TransferConfig

TINY = {
    "channels": (2, 3, 4),
    "pretrain_steps": 6,
    "steps": 6,
    "rounds": 3,
    "batch_size": 8,
    "labels_per_class": 2,
    "validation_per_class": 3,
    "seeds": (0, 1),
    "regularizers": ("none", "l2sp", "optimal"),
    "alphas": {"l2sp": (0.1,), "optimal": (0.01, 0.1)},
    "solver_max_iter": 20,
    "accelerator": "cpu",
}


def tiny(**changes):
    return TransferConfig(**(TINY | changes))
