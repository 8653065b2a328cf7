"""`--protocol paper`: the settings of the papers' appendices, and what has to be handed in for them."""

from __future__ import annotations

import itertools

import pytest
import torch
import yaml

from kantorch.drivers import (
    AdversarialSettings,
    Distill,
    DistillSettings,
    Joint,
    JointSettings,
    TransferSettings,
    protocols,
)
from kantorch.training import ConfigError, RunError, Study, Trial
from kantorch.training.backbones import Backbone
from kantorch.training.tasks import Tasks
from problems import image_sets
from training.test_backbones import OWN

GIVEN = {"protocol": "paper", "data": "cub:/data", "teacher": "resnet101.pth"}
FIVE = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def test_fine_tuning_is_that_of_the_appendix():
    s = TransferSettings.from_mapping(GIVEN)
    assert s.backbone == "torchvision:resnet101"
    assert s.layers == ("layer3.11", "avgpool")
    assert (s.steps, s.rate_falls, s.batch_size, s.momentum) == (9000, (6000,), 64, 0.9)
    assert s.learning_rates == (0.005, 0.01, 0.02, 0.04)
    assert s.methods == ("none", "l2", "l2sp", "identity", "uniform", "optimal")
    assert all(s.grids[name] == {"alpha": FIVE} for name in s.methods[1:])
    assert (s.image_resize, s.image_size, s.test_crops) == (256, 224, "ten")
    assert (s.augment, s.shift) == (("mirror", "blur"), 0)
    assert s.seeds == 5
    assert (s.solver, s.normalize, s.spatial) == ("ipot", False, "mean")
    schedule = s.schedule(0.01)
    assert (schedule.weight_decay, list(schedule.falls)) == (0.0, [6000])


def test_food_takes_longer():
    s = TransferSettings.from_mapping(GIVEN | {"data": "food101:/data"})
    assert (s.steps, s.rate_falls) == (16000, (8000, 12000))


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_compression_is_that_of_the_appendix(data):
    s = DistillSettings.from_mapping({"protocol": "paper", "data": f"{data}:/data"})
    assert (s.teacher_backbone, s.backbone, s.random_start) == ("resnet1001", "resnet56", True)
    for steps, falls, batch in (
        (s.steps, s.rate_falls, s.batch_size),
        (s.pretrain_steps, s.pretrain_rate_falls, s.pretrain_batch_size),
    ):
        assert (steps, falls, batch) == (160_000, (80_000, 120_000), 64)
    assert (s.momentum, s.weight_decay) == (0.9, 1e-4)
    assert s.learning_rates == (0.1,)
    assert s.pretrain_learning_rate == 0.1
    strengths = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    assert s.grids["kd"] == {"alpha": strengths, "temperature": (4.0, 5.0, 10.0)}
    assert all(s.grids[name] == {"alpha": strengths} for name in ("identity", "uniform", "optimal"))
    assert s.validation_per_class * (10 if data == "cifar10" else 100) == 5000
    other = DistillSettings.from_mapping(
        {
            "protocol": "paper",
            "data": f"{data}:/data",
            "teacher_backbone": "wrn-28-10",
            "backbone": "resnet56-slim",
        }
    )
    assert (other.teacher_backbone, other.steps) == ("wrn-28-10", 160_000)


@pytest.mark.parametrize("maker", ["Boeing", "Airbus"])
def test_joint_training_is_of_one_manufacturers_planes_with_all_others(maker):
    given = {"protocol": "paper", "data": "aircraft:/data", "initial": "alexnet.pth"}
    if maker != "Boeing":
        given["target_classes"] = [f"manufacturer={maker}"]
    s = JointSettings.from_mapping(given)
    assert s.backbone == "torchvision:alexnet"
    assert s.target_classes == (f"manufacturer={maker}",)
    assert s.source_classes == (f"manufacturer!={maker}",)
    rates = s.layer_rates
    assert [rates[f"features.{k}"] for k in (0, 3, 6)] == [0.0] * 3
    assert 0 < rates["features.8"] == rates["features.10"] < rates["classifier.1"]
    assert rates["classifier.1"] == rates["classifier.4"] < rates["classifier.6"]
    assert s.features == "initial"
    assert s.methods == ("target", "consecutive", "joint", "jtln_mkmmd", "jtln_ot")


def test_the_parts_of_alexnet_are_there():
    pytest.importorskip("torchvision")
    network = Backbone("torchvision:alexnet").make(3, 7, 0)
    names = {name.rpartition(".")[0] for name, _ in network.named_parameters()}
    assert names == set(protocols.JOINT["layer_rates"]) - {"source_head"}


def test_what_is_given_wins():
    s = TransferSettings.from_mapping(GIVEN | {"seeds": 2, "steps": 90, "rate_falls": [60]})
    assert (s.seeds, s.steps, s.rate_falls, s.batch_size) == (2, 90, (60,), 64)
    assert TransferSettings.from_mapping(yaml.safe_load(yaml.safe_dump(s.to_mapping()))) == s


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (TransferSettings, {"data": "digits"}, "transfer needs data: aircraft:PATH or .*'digits'"),
        (TransferSettings, {"data": "cub:/data"}, "transfer needs teacher: a file"),
        (TransferSettings, {"data": "dogs:/d", "teacher": "a.pth"}, "transfer needs test_data"),
        (DistillSettings, {}, "distill needs data: cifar10:PATH or cifar100:PATH, got None"),
        (DistillSettings, {"new_task": True}, "none was published for new_task"),
        (JointSettings, {"data": "aircraft:/data"}, "joint needs initial"),
        (AdversarialSettings, {}, "no protocol was published for AdversarialSettings"),
    ],
)
def test_what_has_to_be_handed_in_is_named(kind, given, words):
    with pytest.raises(ConfigError, match=words):
        kind.from_mapping({"protocol": "paper"} | given)


def test_a_preset_is_no_part_of_a_protocol():
    with pytest.raises(ConfigError, match="preset must not be given with protocol 'paper'"):
        TransferSettings.from_mapping(GIVEN, "dogs-like")


def planes(root):
    """Lists as long as the real ones, with 22 variants of Boeing and 13 of Airbus; no pictures."""
    makers = {f"B{k}": "Boeing" for k in range(22)} | {f"A{k}": "Airbus" for k in range(13)}
    makers |= {f"O{k}": f"Other {k // 3}" for k in range(65)}
    base = root / "fgvc-aircraft-2013b" / "data"
    (base / "images").mkdir(parents=True)
    for name, words in (("variants", makers), ("manufacturers", dict.fromkeys(makers.values()))):
        (base / f"{name}.txt").write_text("\n".join(words))
    # 67 or 66 of a hundred to train on, so that the sums are those of the paper.
    longer = {f"B{k}" for k in range(14)} | {f"A{k}" for k in range(9)}
    number, lists = itertools.count(), {}
    for variant, maker in makers.items():
        for n in range(100):
            part = "trainval" if n < (67 if variant in longer else 66) else "test"
            name = f"{next(number):07d}"
            (base / "images" / f"{name}.jpg").touch()
            for level, label in (("variant", variant), ("manufacturer", maker)):
                lists.setdefault(f"images_{level}_{part}.txt", []).append(f"{name} {label}")
    for name, lines in lists.items():
        (base / name).write_text("\n".join(lines))


@pytest.fixture(scope="module")
def hangar(tmp_path_factory):
    root = tmp_path_factory.mktemp("planes")
    planes(root)
    hand_in(root)
    return root


def hand_in(root):
    """A network and its weights."""
    (root / "own.py").write_text(OWN)
    state = Backbone(f"{root / 'own.py'}:make").make(3, 9, 0).state_dict()
    torch.save(state, root / "alexnet.pth")


def flown(hangar, maker, **changes):
    """The protocol with another network, as torchvision's need not be there."""
    given = {
        "protocol": "paper",
        "data": f"aircraft:{hangar}",
        "initial": str(hangar / "alexnet.pth"),
        "target_classes": [f"manufacturer={maker}"],
        "backbone": f"{hangar / 'own.py'}:make",
        "layer_rates": {},
    }
    return JointSettings.from_mapping(given | changes)


@pytest.mark.parametrize("maker", ["Boeing", "Airbus"])
def test_the_papers_counts_are_those_of_the_data(hangar, maker):
    driver = Joint(flown(hangar, maker))
    driver.check(1)
    classes, train, test, others, images = protocols.COUNTS[maker]
    tasks = driver.tasks
    assert (len(tasks.target_classes), len(tasks.source_classes)) == (classes, others)
    assert len(tasks.pool()) == train
    assert len(tasks.test()) == test
    assert len(tasks.source().train) + len(tasks.source().validation) == images


def test_other_counts_are_refused_before_anything_runs(tmp_path):
    image_sets.aircraft(tmp_path)
    hand_in(tmp_path)
    settings = flown(tmp_path, "Airbus", validation_per_class=1)
    with pytest.raises(
        RunError, match=r"for Airbus \(13, 867, 433, 87, 8700\).*\(2, 16, 8, 3, 36\)"
    ):
        Study(Joint(settings), tmp_path / "run", progress=False).run()
    assert not (tmp_path / "run").exists()


def test_the_compression_runs_in_small(tmp_path):
    """All of the protocol but its size: a teacher, students from nothing, each temperature."""
    image_sets.cifar10(tmp_path, per_class=4)
    (tmp_path / "own.py").write_text(OWN)
    own = f"{tmp_path / 'own.py'}:make"
    small = {"steps": 3, "rounds": 3, "rate_falls": [1, 2], "batch_size": 8}
    settings = DistillSettings.from_mapping(
        {"protocol": "paper", "data": f"cifar10:{tmp_path}", "seeds": 1, "loaders": 0}
        | small
        | {f"pretrain_{k}": v for k, v in small.items() if k != "rounds"}
        | {"backbone": own, "teacher_backbone": own, "layers": ["3"], "validation_per_class": 2}
        | {"methods": ["none", "optimal", "kd"]}
        | {
            "grids": {
                "optimal": {"alpha": [0.1]},
                "kd": {"alpha": [0.1], "temperature": [4.0, 5.0]},
            }
        }
    )
    results = Study(Distill(settings), tmp_path / "run", progress=False).run()
    assert set(results.chosen) == {"none", "optimal", "kd"}
    assert results.grid("kd") == {"alpha": [0.1], "lr": [0.1], "temperature": [4.0, 5.0]}
    warm, hot = (
        results.records[Trial("target", "kd", (("alpha", 0.1), ("lr", 0.1), ("temperature", t)))]
        for t in (4.0, 5.0)
    )
    assert warm["history"][0]["penalty"] > hot["history"][0]["penalty"] > 0
    assert len(Tasks(settings).test()) == 40
