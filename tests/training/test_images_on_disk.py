"""Training on images on disk: reproducible, whoever reads them, also where a run is stopped."""

from __future__ import annotations

import sys

import pytest
import torch

from kantorch.training import ConfigError
from kantorch.training.augment import Augmentation
from kantorch.training.batches import BatchStream
from kantorch.training.layers import matching
from kantorch.training.views import KeyedStream
from problems import image_sets
from training.test_run import numbers
from training.tiny import run_transfer, tiny


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    base = tmp_path_factory.mktemp("images")
    image_sets.folder(base, parts=("train", "test"), count=8)
    return f"folder:{base}"


def settings(data, **changes):
    own = {
        "data": data,
        "source_classes": ("class0", "class1"),
        "target_classes": ("class2", "class3"),
        "image_size": 12,
        "image_resize": 16,
        "augment": ("mirror", "blur"),
        "test_crops": "ten",
        "methods": ("none", "optimal"),
        "grids": {"optimal": {"alpha": (0.1,)}},
    }
    return tiny(**(own | changes))


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk") / "run"
    return folder, run_transfer(settings(data), folder)


def test_a_study_runs_on_images_on_disk(finished):
    folder, results = finished
    assert set(results.chosen) == {"none", "optimal"}
    assert all(0 <= accuracy <= 1 for accuracy in results.test.values())
    report = (folder / "report.md").read_text()
    assert "class2, class3" in report
    assert "target test: 16 examples" in report


def test_readers_change_no_number(finished, data, tmp_path):
    """What is drawn for an image depends on seed, round and place, not on who reads it."""
    run_transfer(settings(data, loaders=1), tmp_path / "run")
    assert numbers(tmp_path / "run") == numbers(finished[0])


def test_no_two_batches_are_cut_alike():
    keys = set()
    for seed in (0, 1):
        for rank in (0, 1):
            stream = KeyedStream(10, batch_size=4, batches=5, seed=[seed], rank=rank, world_size=2)
            for number in range(3):
                stream.set_epoch(number)
                keys |= {key for _, key in stream}
    assert len(keys) == 2 * 2 * 3 * 5
    plain = BatchStream(10, batch_size=4, batches=5, seed=[1], rank=1, world_size=2)
    plain.set_epoch(2)
    assert [batch for batch, _ in stream] == list(plain)


def test_a_stopped_training_on_images_goes_on_to_the_same_numbers(
    finished, data, tmp_path, monkeypatch
):
    from kantorch.training.module import PenalizedNetwork

    real, made = PenalizedNetwork.training_step, []

    def step(module, batch, batch_idx):
        made.append(1)
        if len(made) == 6 + 3:
            raise MemoryError
        return real(module, batch, batch_idx)

    monkeypatch.setattr(PenalizedNetwork, "training_step", step)
    with pytest.raises(MemoryError):
        run_transfer(settings(data), tmp_path / "run")
    assert list(tmp_path.rglob("last.ckpt"))
    run_transfer(settings(data), tmp_path / "run")
    assert numbers(tmp_path / "run") == numbers(finished[0])


@pytest.mark.parametrize("name", ["more.png", "0.png"])
def test_a_data_set_that_has_changed_is_another_run(tmp_path, name):
    from kantorch.training import RunError

    image_sets.folder(tmp_path / "images", parts=("train", "test"), count=6)
    own = settings(f"folder:{tmp_path / 'images'}", methods=("none",), grids={})
    run_transfer(own, tmp_path / "run")
    image_sets.picture(tmp_path / "images" / "train" / "class2" / name, 5, (50, 50))
    with pytest.raises(RunError, match="data_sha256"):
        run_transfer(own, tmp_path / "run")


def test_augmentation_is_a_function_of_its_key():
    images = torch.rand(64, 3, 8, 9)
    mirror = Augmentation(0, ("mirror",))
    found = mirror(images, (1, 2))
    assert torch.equal(found, mirror(images, (1, 2)))
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(found, images, strict=True)]
    kept = [torch.equal(a, b) for a, b in zip(found, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 10 < sum(mirrored) < 54
    assert not torch.equal(found, mirror(images, (1, 3)))


def test_augmentation_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    Augmentation(1, ("mirror", "blur"))(torch.rand(4, 3, 8, 8), (1,))
    state = torch.get_rng_state()
    torch.set_rng_state(before)
    torch.rand(4, 3, 8, 8)
    assert torch.equal(torch.get_rng_state(), state)


def test_blur_keeps_the_mean_and_takes_off_the_contrast():
    images = torch.rand(64, 1, 16, 16)
    found = Augmentation(0, ("blur",))(images, (3,))
    assert found.mean() == pytest.approx(images.mean().item(), abs=0.01)
    spread = found.std((1, 2, 3)) / images.std((1, 2, 3))
    assert 10 < (spread < 0.9).sum() < 54
    assert spread.max() < 1.01


def test_a_string_is_no_sequence_of_augmentations_or_layers():
    """One would be looked for in it, and letters would be patterns."""
    with pytest.raises(ValueError, match=r"augment must be a sequence of names.*'mirror'"):
        Augmentation(0, "mirror")
    with pytest.raises(ValueError, match=r"layers must be a sequence of names.*'0'"):
        matching(torch.nn.Sequential(torch.nn.ReLU()), "0")


def test_kornia_is_asked_for_before_a_network_is_made(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia", None)
    with pytest.raises(ConfigError, match=r"augment mirror needs kornia.*pip install kornia"):
        run_transfer(settings(data), tmp_path / "run")
    assert not (tmp_path / "run").exists()
