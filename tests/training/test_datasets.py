"""Data sets on disk: read in their real formats, and named with path and fix when they are not there."""

from __future__ import annotations

import os
import pickle
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from kantorch.training import ConfigError, RunError
from kantorch.training.datasets import FORMATS, TEST, TRAIN, VALIDATION, read_images
from kantorch.training.tasks import Tasks
from problems import image_sets
from training.tiny import tiny

# Classes, images to train on and to test; None: the authors made no parts.
SIZES = {
    "cifar10": (10, 200, 40),
    "cifar100": (100, 200, 200),
    "aircraft": (5, 40, 20),
    "cub": (3, 12, 6),
    "cars": (3, 12, 12),
    "dogs": (3, 12, 6),
    "food101": (3, 12, 6),
    "caltech101": (3, 12, None),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Every data set, each in a folder of its name."""
    base = tmp_path_factory.mktemp("sets")
    for kind in image_sets.KINDS:
        getattr(image_sets, kind)(base / kind)
    return base


@pytest.mark.parametrize("kind", image_sets.KINDS)
def test_every_format_is_read(root, kind):
    found = read_images(f"{kind}:{root / kind}")
    classes, train, test = SIZES[kind]
    assert len(found.names) == len(set(found.names)) == classes
    assert set(found.labels) == set(range(classes))
    if test is None:
        assert found.parts is None
        assert len(found) == train
    else:
        assert (found.parts == TRAIN).sum() == train
        assert (found.parts == TEST).sum() == test
    for place in (0, len(found) - 1):
        image = found.image(place)
        assert image.mode == "RGB"
        assert min(image.size) >= 30


def test_the_data_sets_own_folder_may_be_named_too(root):
    for kind, inside in (("cifar10", "cifar-10-batches-py"), ("cub", "CUB_200_2011")):
        inner = read_images(f"{kind}:{root / kind / inside}")
        outer = read_images(f"{kind}:{root / kind}")
        assert np.array_equal(inner.labels, outer.labels)


def test_pixels_of_cifar_are_those_of_the_batches(tmp_path):
    kept = image_sets.cifar10(tmp_path)
    found = read_images(f"cifar10:{tmp_path}")
    data, labels = kept["data_batch_2"]
    assert np.array_equal(np.array(found.image(40)), data[0].reshape(3, 32, 32).transpose(1, 2, 0))
    assert found.labels[40:80].tolist() == labels
    assert found.names[3] == "thing3"


@pytest.mark.parametrize(
    ("level", "classes"), [("aircraft", 5), ("aircraft-family", 5), ("aircraft-manufacturer", 3)]
)
def test_planes_are_classed_at_three_levels(root, level, classes):
    found = read_images(f"{level}:{root / 'aircraft'}")
    assert len(found.names) == classes
    assert len(found) == 60


def test_a_background_is_no_class_of_caltechs(root):
    assert read_images(f"caltech101:{root / 'caltech101'}").names == (
        "thing_0",
        "thing_1",
        "thing_2",
    )


def test_folders_have_parts_or_none(tmp_path):
    names = image_sets.folder(tmp_path / "plain")
    plain = read_images(f"folder:{tmp_path / 'plain'}")
    assert plain.parts is None
    assert list(plain.names) == names
    image_sets.folder(tmp_path / "cut", parts=("train", "val", "test"), count=3)
    cut = read_images(f"folder:{tmp_path / 'cut'}")
    assert [int((cut.parts == part).sum()) for part in (TRAIN, VALIDATION, TEST)] == [12] * 3


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_what_is_missing_is_named_with_its_path_and_the_fix(tmp_path, kind):
    with pytest.raises(RunError) as caught:
        Tasks(tiny(data=f"{kind}:{tmp_path / 'nowhere'}"))
    message = str(caught.value)
    assert str(tmp_path / "nowhere") in message
    assert "is missing" in message
    assert any(word in message for word in ("download=True", "unpack", "put the images"))


@pytest.mark.parametrize(
    ("kind", "lost", "words"),
    [
        ("cifar10", "cifar-10-batches-py/data_batch_3", "data_batch_3 is missing"),
        (
            "aircraft",
            "fgvc-aircraft-2013b/data/images_variant_test.txt",
            "variant_test.txt is missing",
        ),
        ("aircraft", "fgvc-aircraft-2013b/data/images/0000017.jpg", "0000017.jpg is missing"),
        ("cub", "CUB_200_2011/train_test_split.txt", "train_test_split.txt is missing"),
        ("cars", "stanford_cars/cars_test_annos_withlabels.mat", "withlabels.mat is missing"),
        ("dogs", "test_list.mat", "test_list.mat is missing"),
        ("food101", "food-101/meta/test.json", "test.json is missing"),
    ],
)
def test_a_file_that_is_missing_is_named(tmp_path, kind, lost, words):
    getattr(image_sets, kind)(tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(RunError, match=words):
        read_images(f"{kind}:{tmp_path}")


@pytest.mark.parametrize(
    ("kind", "broken", "content", "words"),
    [
        ("cifar10", "cifar-10-batches-py/test_batch", b"\x80\x02hello", "cannot read .*test_batch"),
        ("cifar10", "cifar-10-batches-py/test_batch", pickle.dumps([1]), "must hold a dictionary"),
        ("cifar10", "cifar-10-batches-py/test_batch", pickle.dumps({"data": 1}), "must hold data"),
        ("dogs", "train_list.mat", b"MATLAB 5.0", "cannot read .*train_list.mat"),
        ("food101", "food-101/meta/train.json", b"{", "cannot read .*train.json"),
        ("cub", "CUB_200_2011/images.txt", b"one\n", "two words in line 1"),
        ("cub", "CUB_200_2011/image_class_labels.txt", b"1 77\n", "class and part of image 1"),
        (
            "aircraft",
            "fgvc-aircraft-2013b/data/images_variant_test.txt",
            b"0000001 Zeppelin\n",
            "names no variant: 'Zeppelin'",
        ),
    ],
)
def test_a_file_that_is_damaged_is_named(tmp_path, kind, broken, content, words):
    getattr(image_sets, kind)(tmp_path)
    (tmp_path / broken).write_bytes(content)
    with pytest.raises(RunError, match=words):
        read_images(f"{kind}:{tmp_path}")


class Hostile:
    """Pickled, it asks for a command to be run."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


def test_a_batch_that_holds_code_is_refused_and_does_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image_sets.cifar10(tmp_path)
    content = pickle.dumps({"data": Hostile(), "labels": []})
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    with pytest.raises(RunError, match=r"system, which is no data"):
        read_images(f"cifar10:{tmp_path}")
    assert not (tmp_path / "hacked").exists()


# Tasks cut out of them.


def on_disk(data, **changes):
    few = {"labels_per_class": 2, "validation_per_class": 1, "image_size": 16}
    classes = {"source_classes": ("class0", "class1"), "target_classes": ("class2", "class3")}
    return tiny(data=data, **(few | classes | changes))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    base = tmp_path_factory.mktemp("plain")
    image_sets.folder(base)
    return f"folder:{base}"


def test_a_folder_without_parts_is_cut_by_the_seed_of_the_data(plain):
    tasks = Tasks(on_disk(plain))
    sizes = tasks.sizes()
    assert sizes["target training, per seed"] == 2 * 2
    assert sizes["target validation, per seed"] == 2
    assert sizes["target test"] == 2 * 3
    parts = [tasks.test(), *vars(tasks.target(0)).values()]
    places = [set(part.places.tolist()) for part in parts]
    assert len(set.union(*places)) == sum(map(len, places))
    again = Tasks(on_disk(plain, first_seed=3))
    assert again.test().places.tolist() == tasks.test().places.tolist()
    other = Tasks(on_disk(plain, data_seed=1))
    assert other.test().places.tolist() != tasks.test().places.tolist()


def test_images_are_read_when_a_batch_asks_for_them(plain, monkeypatch):
    opened = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(path) or real(path))
    split = Tasks(on_disk(plain)).target(0)
    assert not opened
    images, labels = split.train[[0, 3]]
    assert len(opened) == 2
    assert images.shape == (2, 3, 16, 16)
    assert labels.tolist() == [0, 1]


def test_a_batchs_key_draws_where_its_squares_are_cut(plain):
    train = Tasks(on_disk(plain, image_resize=20)).target(0).train
    centre, _ = train[[0, 1]]
    first, _ = train[([0, 1], (5, 0, 1))]
    same, _ = train[([0, 1], (5, 0, 1))]
    other, _ = train[([0, 1], (5, 0, 2))]
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(train[[0, 1]][0], centre)


def test_pixels_are_normalised_by_colour(tmp_path):
    for name in ("a", "b", "c", "d"):
        for k in range(6):
            path = tmp_path / name / f"{k}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (20, 20), (255, 51, 0)).save(path)
    tasks = Tasks(
        tiny(
            data=f"folder:{tmp_path}",
            source_classes=("a", "b"),
            target_classes=("c", "d"),
            validation_per_class=1,
            image_size=8,
            image_mean=(0.5, 0.2, 0.0),
            image_deviation=(0.5, 1.0, 2.0),
        )
    )
    (image,), _ = tasks.test()[[0]]
    torch.testing.assert_close(image.mean((1, 2)), torch.tensor([1.0, 0.0, 0.0]))


def test_ten_crops_are_the_centre_and_the_corners_and_their_mirrors(plain):
    test = Tasks(on_disk(plain, image_resize=20)).test()
    ten, labels = test.ten_crops()[[0, 1]]
    assert ten.shape == (2, 10, 3, 16, 16)
    assert torch.equal(labels, test[[0, 1]][1])
    assert torch.equal(ten[:, 0], test[[0, 1]][0])
    assert torch.equal(ten[:, 5:], ten[:, :5].flip(-1))
    image = test.images.image(int(test.places[0]))
    corner = test.view.tensor(test.view.resized(image), 0, 0)
    assert torch.equal(ten[0, 1], corner)


def test_the_authors_parts_are_kept(root):
    settings = tiny(
        data=f"cub:{root / 'cub'}",
        source_classes=("all",),
        target_classes=("all",),
        labels_per_class="all",
        validation_per_class=1,
    )
    tasks = Tasks(settings)
    assert tasks.sizes()["target training, per seed"] == 3 * 3
    assert tasks.sizes()["target test"] == 3 * 2
    # The source has the same classes: it may not learn the test's images.
    learnt = set(tasks.source().train.places) | set(tasks.source().validation.places)
    assert not learnt & set(tasks.test().places)
    assert len(learnt) == 12


def test_a_validation_part_chooses(tmp_path):
    image_sets.folder(tmp_path, parts=("train", "val", "test"), count=3)
    tasks = Tasks(on_disk(f"folder:{tmp_path}", labels_per_class="all", validation_per_class=99))
    for seed in (0, 1):
        split = tasks.target(seed)
        assert len(split.train) == 2 * 3
        assert (tasks._target.parts[split.validation.places] == VALIDATION).all()


def test_shared_classes_without_parts_are_refused(plain):
    with pytest.raises(ConfigError, match=r"share no class.*class1"):
        Tasks(on_disk(plain, target_classes=("class1", "class3")))


def test_planes_of_a_manufacturer_are_a_task(root):
    settings = tiny(
        data=f"aircraft:{root / 'aircraft'}",
        target_classes=("manufacturer=Airbus",),
        source_classes=("manufacturer!=Airbus",),
        labels_per_class="all",
        validation_per_class=1,
    )
    tasks = Tasks(settings)
    assert tasks.names("target") == ["A300B4", "A310"]
    assert tasks.names("source") == ["737-200", "747-100", "DC-3"]
    # All images of the source, those of its test part too: the target has none of its classes.
    assert len(tasks.source().train) + len(tasks.source().validation) == 3 * 12
    with pytest.raises(ConfigError, match=r"manufacturer=Lockheed' of Airbus, Boeing"):
        Tasks(settings.model_copy(update={"target_classes": ("manufacturer=Lockheed",)}))


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (("class2", "clas3"), r"classes of the data, got 'clas3'; near it: 'class3'"),
        (("class2", 9), "labels of the data, got 9"),
        (("all", 2), "two or more different classes"),
        (("manufacturer=Boeing",), "classes of the data, got 'manufacturer=Boeing'"),
    ],
)
def test_classes_that_are_not_there_are_named(plain, classes, words):
    with pytest.raises(ConfigError, match=words):
        Tasks(on_disk(plain, target_classes=classes))


def test_dogs_may_be_tested_on_other_images_of_the_same_breeds(root, tmp_path):
    names = image_sets.dogs(tmp_path / "again")
    for k, name in enumerate(names):  # as ImageNet's validation part
        image_sets.picture(tmp_path / "val" / name.partition("-")[0] / "1.JPEG", k)
    settings = tiny(
        data=f"dogs:{root / 'dogs'}",
        test_data=f"folder:{tmp_path / 'val'}",
        source_data="none",
        target_classes=("all",),
        validation_per_class=1,
    )
    tasks = Tasks(settings)
    assert len(tasks.test()) == 3
    assert tasks.test()[[0, 1, 2]][1].tolist() == [0, 1, 2]
    assert tasks.source_classes == ()
    assert "source training" not in tasks.sizes()
    (tmp_path / "val" / names[1].partition("-")[0] / "1.JPEG").unlink()
    with pytest.raises(RunError, match="must hold images"):
        Tasks(settings)


def test_an_image_that_is_damaged_is_named(tmp_path):
    image_sets.folder(tmp_path)
    (tmp_path / "class2" / "0.png").write_bytes(b"no image")
    tasks = Tasks(on_disk(f"folder:{tmp_path}"))
    with pytest.raises(RunError, match=r"cannot read the image .*class2/0\.png"):
        tasks.pool()[list(range(6))], tasks.test()[list(range(6))]


def test_arrays_and_images_do_not_mix(plain):
    with pytest.raises(ConfigError, match="source_data must be images on disk if data are"):
        Tasks(on_disk(plain, source_data="digits"))


@pytest.mark.parametrize("kind", ["cifar10", "cifar100", "aircraft", "cars", "food101"])
def test_torchvision_reads_the_same(root, kind):
    """Torchvision is the judge of its formats, where it is installed."""
    datasets = pytest.importorskip("torchvision.datasets")
    makers = {
        "cifar10": lambda train: datasets.CIFAR10(root / kind, train=train),
        "cifar100": lambda train: datasets.CIFAR100(root / kind, train=train),
        "aircraft": lambda train: datasets.FGVCAircraft(
            root / kind, split="trainval" if train else "test"
        ),
        "cars": lambda train: datasets.StanfordCars(
            root / kind, split="train" if train else "test"
        ),
        "food101": lambda train: datasets.Food101(root / kind, split="train" if train else "test"),
    }
    found = read_images(f"{kind}:{root / kind}")
    # The sums that torchvision knows are those of the real files.
    with mock.patch("torchvision.datasets.cifar.check_integrity", return_value=True):
        for train in (True, False):
            theirs = makers[kind](train)
            mine = np.flatnonzero(found.parts == (TRAIN if train else TEST))
            assert len(theirs) == len(mine)
            told = {np.array(image.convert("RGB")).tobytes(): label for image, label in theirs}
            for place in mine:
                assert told[np.array(found.image(int(place))).tobytes()] == found.labels[place]
