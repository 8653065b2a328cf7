"""The smallest settings that run through every part of a transfer study."""

from __future__ import annotations

from kantorch.drivers import Transfer, TransferSettings
from kantorch.training import Study

# Of any training.
TRAINING = {
    "channels": (2, 3, 4),
    "pretrain_steps": 6,
    "steps": 6,
    "rounds": 3,
    "batch_size": 8,
    "labels_per_class": 2,
    "validation_per_class": 3,
    "accelerator": "cpu",
}
TINY = TRAINING | {
    "seeds": 2,
    "methods": ("none", "l2sp", "optimal"),
    "grids": {"l2sp": {"alpha": (0.1,)}, "optimal": {"alpha": (0.01, 0.1)}},
    "solver_max_iter": 20,
}


def tiny(**changes):
    return TransferSettings(**(TINY | changes))


def run_transfer(settings, folder, **options):
    return Study(Transfer(settings), folder, **({"progress": False} | options)).run()


def identity(settings, world_size=1):
    """What a run folder's config.yaml holds."""
    return {"driver": "transfer"} | settings.to_mapping() | {"world_size": world_size}
