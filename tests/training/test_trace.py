"""The validation trace: of one plan between neurons over every validation example."""

from __future__ import annotations

import copy

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import TensorDataset

from kantorch.regularizers import RepresentationTransport
from kantorch.training import batches
from kantorch.training.callbacks import quiet_lightning
from kantorch.training.model import make_network
from kantorch.training.module import PenalizedNetwork, Schedule
from kantorch.training.objective import OBJECTIVES

LAYERS = ("block2", "pool")


def networks():
    """A network and one whose neurons are near its own, some in other places."""
    reference = make_network(1, (6, 8, 16), 3, seed=1)
    network = copy.deepcopy(reference)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network, reference


def validated(network, reference, images, monkeypatch, batch):
    module = PenalizedNetwork(
        network,
        objective=OBJECTIVES["cross_entropy"],
        outputs=3,
        schedule=Schedule(1, 1.0, 0.0),
        seed=0,
        shift=0,
        name="a",
        reference=reference,
        layers=LAYERS,
    )
    monkeypatch.setattr(batches, "EVALUATION_BATCH", batch)
    loader = batches.evaluation_loader(TensorDataset(images, torch.zeros(len(images), dtype=int)))
    with quiet_lightning():
        trainer = Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
        )
        for _ in range(2):  # the second pass knows nothing of the first
            trainer.validate(module, loader, verbose=False)
    first, second = module.history
    assert first == second
    return {layer: first[f"validation_trace_{layer}"] for layer in LAYERS}


@pytest.mark.parametrize("batch", [1, 7, 39, 512])
def test_the_validation_trace_is_that_of_all_examples(monkeypatch, batch):
    network, reference = networks()
    images = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    with RepresentationTransport(network, reference, layers=LAYERS, solver="exact") as monitor:
        network(images)
        monitor(images)
        expected = {layer: trace.item() for layer, trace in monitor.traces.items()}
    assert all(0.1 < trace < 0.9 for trace in expected.values()), expected
    found = validated(network, reference, images, monkeypatch, batch)
    assert found == pytest.approx(expected, abs=1e-6)
