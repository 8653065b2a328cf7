"""The splits: disjoint, balanced, reproducible; the batches: a function of seed and round."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kantorch.training import ConfigError, RunError
from kantorch.training.augment import shift_images
from kantorch.training.batches import BatchStream
from kantorch.training.tasks import Tasks
from training.tiny import tiny


def rows(dataset):
    return {image.numpy().tobytes() for image in dataset.tensors[0]}


def test_parts_are_disjoint_and_balanced():
    tasks = Tasks(tiny(labels_per_class=10, validation_per_class=20))
    test = rows(tasks.test())
    for seed in range(3):
        split = tasks.target(seed)
        assert torch.equal(split.train.tensors[1].bincount(), torch.full((5,), 10))
        assert torch.equal(split.validation.tensors[1].bincount(), torch.full((5,), 20))
        train, validation = rows(split.train), rows(split.validation)
        assert not train & validation
        assert not test & (train | validation)
    source = tasks.source()
    assert not rows(source.train) & rows(source.validation)
    assert len(source.train) + len(source.validation) == 901
    assert sum(tasks.sizes()[k] for k in ("source training", "source validation")) == 901


def test_seeds_draw_training_examples_but_not_the_test():
    one, two = Tasks(tiny()), Tasks(tiny(first_seed=5))
    assert rows(one.test()) == rows(two.test())
    assert rows(one.target(0).train) == rows(two.target(0).train)
    assert rows(one.target(0).train) != rows(one.target(1).train)


def test_too_few_examples_name_the_class():
    with pytest.raises(ConfigError, match=r"labels_per_class .* class 5 has 182"):
        Tasks(tiny(labels_per_class=100))
    with pytest.raises(ConfigError, match=r"source_classes .* got 11"):
        Tasks(tiny(source_classes=(0, 11)))


def test_batches_are_a_function_of_seed_and_round():
    stream = BatchStream(10, batch_size=4, batches=5, seed=[3])
    stream.set_epoch(2)
    second = list(stream)
    assert second == list(stream)
    stream.set_epoch(1)
    assert second != list(stream)
    stream.set_epoch(2)
    assert second == list(stream)
    # 20 draws are two permutations of the ten examples.
    assert np.bincount(np.concatenate(second)).tolist() == [2] * 10
    assert len(second) == len(stream) == 5


def test_ranks_share_each_batch():
    whole = list(BatchStream(10, 4, 5, seed=[3]))
    shares = [list(BatchStream(10, 4, 5, seed=[3], rank=r, world_size=2)) for r in (0, 1)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert sorted(batch) == sorted(first + second)


def test_shifted_images_are_moved_not_changed():
    images = torch.rand(50, 2, 5, 6) + 1
    moved = shift_images(images, 1, [1, 2])
    assert torch.equal(moved, shift_images(images, 1, [1, 2]))
    assert not torch.equal(moved, shift_images(images, 1, [1, 3]))
    assert torch.equal(shift_images(images, 0, [1]), images)
    seen = set()
    for image, result in zip(images, moved, strict=True):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                expected = torch.full_like(image, image.min().item())
                source = image[:, max(dy, 0) : 5 + min(dy, 0), max(dx, 0) : 6 + min(dx, 0)]
                expected[:, max(-dy, 0) : 5 + min(-dy, 0), max(-dx, 0) : 6 + min(-dx, 0)] = source
                if torch.equal(result, expected):
                    seen.add((dy, dx))
                    break
            else:
                continue
            break
        else:
            pytest.fail("an image was changed by more than a shift")
    assert len(seen) == 9


def test_own_data_is_read_from_npz(tmp_path, rng):
    path = tmp_path / "data.npz"
    labels = np.repeat(np.arange(4), 30)
    np.savez(path, images=rng.random((120, 9, 9)), labels=labels)
    tasks = Tasks(tiny(data=str(path), source_classes=(0, 1), target_classes=(2, 3)))
    assert tasks.in_channels == 1
    assert tasks.target(0).train.tensors[0].shape == (4, 1, 9, 9)


def colour(n=120, height=9, width=8, channels=3):
    """Labelled images whose channels differ, channels first."""
    rng = np.random.default_rng(4)
    images = rng.random((n, channels, height, width)) + 5 * np.arange(channels)[:, None, None]
    return images, np.repeat(np.arange(4), n // 4)


def first_images(path, images, labels, **settings):
    np.savez(path, images=images, labels=labels)
    own = {"data": str(path), "source_classes": (0, 1), "target_classes": (2, 3)}
    return Tasks(tiny(**own, **settings)).target(0).train.tensors[0]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_with_channels_last_are_the_same_images(tmp_path, channels):
    images, labels = colour(channels=channels)
    last = np.ascontiguousarray(np.moveaxis(images, 1, -1))
    first = first_images(tmp_path / "first.npz", images, labels)
    assert first.shape == (4, channels, 9, 8)
    assert torch.equal(first, first_images(tmp_path / "last.npz", last, labels))


@pytest.mark.parametrize(("height", "width", "channels"), [(9, 8, 10), (4, 4, 3), (9, 3, 3)])
def test_a_layout_that_the_shape_leaves_open_is_asked_for(tmp_path, height, width, channels):
    images, labels = colour(height=height, width=width, channels=channels)
    last = np.ascontiguousarray(np.moveaxis(images, 1, -1))
    path = tmp_path / "data.npz"
    words = rf"data\.npz: images of shape \(120, {channels}, {height}, {width}\).*image_layout"
    with pytest.raises(ConfigError, match=words):
        first_images(path, images, labels)
    first = first_images(path, images, labels, image_layout="channels_first")
    assert first.shape == (4, channels, height, width)
    assert torch.equal(first, first_images(path, last, labels, image_layout="channels_last"))


def test_images_too_small_for_the_network_are_named(tmp_path):
    images, labels = colour(height=8, width=1)
    with pytest.raises(RunError, match=r"images .*2 x 2 pixels.*\(120, 3, 8, 1\)"):
        first_images(tmp_path / "a.npz", images, labels, image_layout="channels_first")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (None, "nothing.npz"),
        ({"images": np.zeros((4, 3, 3))}, "labels"),
        ({"images": np.zeros((4, 3)), "labels": np.zeros(4, dtype=int)}, "must hold images"),
        ({"images": np.zeros((4, 3, 3)), "labels": np.zeros(4)}, "integer labels"),
        (
            {"images": np.full((4, 3, 3), np.nan), "labels": np.zeros(4, dtype=int)},
            "finite",
        ),
        (
            {"images": np.array([{}] * 4, dtype=object), "labels": np.zeros(4, dtype=int)},
            "Object arrays cannot be loaded",
        ),
        ({"images": np.full((4, 3, 3), "a"), "labels": np.zeros(4, dtype=int)}, "<U1"),
        ({"images": np.full((4, 3, 3), 1j), "labels": np.zeros(4, dtype=int)}, "complex128"),
        ({"images": np.zeros((4, 3, 3)), "labels": np.full(4, 2**63, dtype=np.uint64)}, "int64"),
        ({"images": np.zeros((0, 3, 3)), "labels": np.zeros(0, dtype=int)}, r"\(0, 3, 3\)"),
    ],
)
def test_bad_data_names_the_fault(tmp_path, arrays, words):
    path = tmp_path / ("nothing.npz" if arrays is None else "data.npz")
    if arrays is not None:
        np.savez(path, **arrays)
    with pytest.raises(RunError, match=words):
        Tasks(tiny(data=str(path)))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "one array", "no archive"])
def test_damaged_data_is_named(tmp_path, damage):
    path = tmp_path / "data.npz"
    images, labels = colour()
    np.savez_compressed(path, images=images, labels=labels)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    if damage == "one array":
        with path.open("wb") as file:
            np.save(file, images)
    else:
        shorter = path.read_bytes()[:-100]
        path.write_bytes({"cut": shorter, "flipped": content, "empty": b""}.get(damage, b"hello"))
    with pytest.raises(RunError, match=r"data must be .*data\.npz"):
        Tasks(tiny(data=str(path)))
