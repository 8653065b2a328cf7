"""Networks by name and by file, their weights from files, and what does not fit."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from torch import nn

from kantorch.drivers import Distill, DistillSettings, Joint, JointSettings, Trace, TraceSettings
from kantorch.models import MODELS, make_model
from kantorch.training import ConfigError, RunError, Study
from kantorch.training.backbones import Backbone, with_head_input, with_new_head, with_outputs
from kantorch.training.layers import matching, parse_layer, widths
from kantorch.training.model import make_network
from kantorch.training.records import Weights
from training.tiny import TRAINING, run_transfer, tiny

OWN = """
from torch import nn

def make(classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes))

def wrong(classes, in_channels):
    return "no network"
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return f"{path}:make"


@pytest.mark.parametrize("name", ["convnet", *(m for m in MODELS if m == "resnet56-slim")])
def test_a_networks_weights_are_a_function_of_its_seed(name):
    backbone = Backbone(name, (2, 3, 4))
    before = torch.get_rng_state()
    first, same, other = (backbone.make(1, 5, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_the_last_linear_module_is_the_head(own):
    assert Backbone("convnet", (2, 3, 4)).head(make_network(1, (2, 3, 4), 5, 0)) == "head"
    network = Backbone(own).make(1, 5, 0)
    assert Backbone(own).head(network) == "5"
    with pytest.raises(ConfigError, match=r"head must name a linear module .*\(5\), got '4'"):
        Backbone(own, given_head="4").head(network)


def test_a_new_head_leaves_the_rest(own):
    backbone = Backbone(own)
    source = backbone.make(1, 5, 0)
    found = with_new_head(backbone, source, 1, 3, seed=7)
    assert found[5].out_features == 3
    assert torch.equal(found[0].weight, source[0].weight)
    again = with_new_head(backbone, source, 1, 3, seed=7)
    assert torch.equal(found[5].weight, again[5].weight)


def test_outputs_are_taken_by_their_places(own):
    network = Backbone(own).make(1, 5, 0).eval()
    images = torch.rand(3, 1, 9, 9)
    part = with_outputs(network, "5", [4, 1])
    torch.testing.assert_close(part(images), network(images)[:, [4, 1]])
    assert network[5].out_features == 5


def test_what_the_head_sees_is_seen_without_a_trace(own):
    network = Backbone(own).make(1, 5, 0).eval()
    images = torch.rand(3, 1, 9, 9)
    features, outputs = with_head_input(network, "5", images)
    assert features.shape == (3, 6)
    torch.testing.assert_close(network[5](features), outputs)
    assert not network[5]._forward_pre_hooks


def test_layers_are_named_by_module_side_and_dimension():
    assert parse_layer("a.b") == parse_layer("a.b")
    assert parse_layer("fc:input").of == "input"
    assert parse_layer("blocks.3:-1").channel_dim == -1
    assert parse_layer("pool", "avgpool").teacher_name == "avgpool"
    for wrong in ("fc:output", ":input", "a:b:c"):
        with pytest.raises(ConfigError, match="layers must"):
            parse_layer(wrong)


def test_patterns_stay_between_dots():
    network = make_model("resnet56-slim", classes=3)
    blocks = matching(network, ["stage?.*"])
    assert len(blocks) == 18
    assert blocks[:2] == ["stage1.0", "stage1.1"]
    assert matching(network, ["pool", "stage1.0:input"]) == ["stage1.0:input", "pool"]
    with pytest.raises(ConfigError, match="got 'layer9'"):
        matching(network, ["layer9"])


def test_widths_tell_whether_neurons_pair_up():
    first, second = make_network(1, (2, 3, 4), 5, 0), make_network(1, (2, 6, 4), 5, 0)
    layers = [parse_layer("block2"), parse_layer("head:input")]
    assert widths(first, second, layers, torch.zeros(1, 1, 8, 8)) == [(3, 6), (4, 4)]
    with pytest.raises(ConfigError, match=r"layers must name modules .*'block9'"):
        widths(first, second, [parse_layer("block9")], torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet57", "backbone must be convnet, resnet56.*FILE.py:FUNCTION, got 'resnet57'"),
        ("nowhere/own.py:make", "cannot load the backbone nowhere/own.py:make"),
    ],
)
def test_a_network_that_is_not_known_is_named(tmp_path, name, words):
    with pytest.raises(ConfigError, match=words):
        run_transfer(tiny(backbone=name), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_function_that_makes_no_network_is_named(own):
    with pytest.raises(ConfigError, match=r"must make a torch\.nn\.Module, got str"):
        Backbone(own.replace(":make", ":wrong")).make(1, 2, 0)
    with pytest.raises(ConfigError, match=r"cannot load .*no attribute 'other'"):
        Backbone(own.replace(":make", ":other")).check(1)


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_a_package_that_is_missing_is_named(monkeypatch, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package}:resnet18 needs {package}.*kantorch\[vision"):
        run_transfer(tiny(backbone=f"{package}:resnet18"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def stand_in(monkeypatch):
    """Packages whose network is this test's, called as the real ones are."""

    def make(classes, in_channels=3):
        return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.Flatten(), nn.LazyLinear(classes))

    models = types.ModuleType("torchvision.models")
    models.list_models = lambda: ["resnet18", "resnet50"]
    models.get_model = lambda name, weights, num_classes: make(num_classes)
    vision = types.ModuleType("torchvision")
    vision.models = models
    timm = types.ModuleType("timm")
    timm.list_models = models.list_models
    timm.create_model = lambda name, pretrained, num_classes, in_chans: make(num_classes, in_chans)
    for name, module in (("torchvision", vision), ("torchvision.models", models), ("timm", timm)):
        monkeypatch.setitem(sys.modules, name, module)


def test_names_of_other_packages_are_checked_there(monkeypatch):
    stand_in(monkeypatch)
    for package in ("torchvision", "timm"):
        with pytest.raises(
            ConfigError, match=r"'.*resnet81' is not known to its.*near it: resnet18"
        ):
            Backbone(f"{package}:resnet81").check(3)
        assert Backbone(f"{package}:resnet18").make(3, 7, 0)[2].out_features == 7
    with pytest.raises(ConfigError, match="images with 3 channels, got 1"):
        Backbone("torchvision:resnet18").check(1)


# Weights from files.


def test_weights_are_read_as_others_write_them(tmp_path, own):
    network = Backbone(own).make(1, 5, 0)
    state = network.state_dict()
    bare = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    files = {
        "plain.pth": state,
        "wrapped.pth": {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}},
        "old.pth": bare,
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
        other = Backbone(own).make(1, 5, 1)
        weights = Weights.given("teacher", str(tmp_path / name))
        weights.load_into(other)
        assert weights.outputs("5") == 5
        assert all(torch.equal(v, state[k]) for k, v in other.state_dict().items())


def test_weights_in_safetensors_are_read(tmp_path, own):
    save_file = pytest.importorskip("safetensors.torch").save_file
    network, other = (Backbone(own).make(1, 5, seed) for seed in (0, 1))
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    Weights.given("teacher", str(tmp_path / "net.safetensors")).load_into(other)
    assert torch.equal(network[0].weight, other[0].weight)
    (tmp_path / "net.safetensors").write_bytes(b"no tensors")
    with pytest.raises(RunError, match=r"cannot read weights .*net\.safetensors"):
        Weights.given("teacher", str(tmp_path / "net.safetensors")).load_into(other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s: s.pop("0.weight"),
            r"0\.weight must be a tensor of shape \(6, 1, 3, 3\), got Non",
        ),
        (
            lambda s: s.update({"0.weight": torch.zeros(7, 1, 3, 3)}),
            r"\(6, 1, 3, 3\), got \(7, 1, 3",
        ),
        (lambda s: s.update(more=torch.zeros(1)), "'more', which the network has not"),
        (lambda s: s["0.weight"].fill_(float("nan")), r"0\.weight must be finite"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, own, change, words):
    network = Backbone(own).make(1, 5, 0)
    state = dict(network.state_dict())
    change(state)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(RunError, match=rf"net\.pth .*{words}.*choose another teacher"):
        Weights.given("teacher", str(tmp_path / "net.pth")).load_into(network)


# Drivers with other networks.


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, own):
    torch.save(make_network(1, (2, 3, 5), 5, 0).state_dict(), tmp_path / "net.pth")
    with pytest.raises(RunError, match=r"net\.pth .*block3\.0\.weight must be .*shape"):
        run_transfer(tiny(teacher=str(tmp_path / "net.pth")), tmp_path / "run")
    joint = JointSettings(**TRAINING | {"initial": str(tmp_path / "net.pth")})
    with pytest.raises(RunError, match=r"net\.pth .*choose another initial"):
        Study(Joint(joint), tmp_path / "run", progress=False).run()
    assert not (tmp_path / "run").exists()


def test_a_network_of_ones_own_is_fine_tuned_from_weights_of_another_task(tmp_path, own):
    """Seven outputs of a task whose data are not here, as a network that has learnt ImageNet."""
    torch.save(Backbone(own).make(1, 7, 3).state_dict(), tmp_path / "net.pth")
    settings = tiny(
        backbone=own,
        teacher=str(tmp_path / "net.pth"),
        source_data="none",
        methods=("none", "l2sp", "identity", "optimal", "kd"),
        grids={name: {"alpha": (0.1,)} for name in ("l2sp", "identity", "optimal", "kd")},
        seeds=1,
    )
    results = run_transfer(settings, tmp_path / "run")
    assert set(results.chosen) == {"none", "l2sp", "identity", "optimal"}
    assert not (tmp_path / "run" / "trials" / "source").exists()
    assert "learns another task" in (tmp_path / "run" / "report.md").read_text()
    record = results.chosen_records("optimal")[0]
    assert list(record["traces"]) == ["5"]  # the head's input
    (tmp_path / "own.py").write_text(OWN + "\n# changed")
    with pytest.raises(RunError, match="backbone_sha256"):
        run_transfer(settings, tmp_path / "run")


def test_a_network_without_source_needs_weights(tmp_path):
    with pytest.raises(ConfigError, match="source_data 'none' needs a teacher"):
        run_transfer(tiny(source_data="none"), tmp_path / "run")


def test_layers_of_other_networks_are_checked(tmp_path, own):
    with pytest.raises(ConfigError, match=r"layers must name modules .*'block1'"):
        run_transfer(tiny(backbone=own, layers=("block1",)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_may_have_other_layers_than_the_student(tmp_path, own):
    settings = DistillSettings.from_mapping(
        TRAINING
        | {
            "seeds": 1,
            "random_start": True,
            "teacher_backbone": own,
            "layers": ("head:input",),
            "teacher_layers": ("5",),
            "channels": (2, 3, 6),
            "methods": ("none", "identity", "optimal", "kd"),
            "grids": {name: {"alpha": (0.1,)} for name in ("identity", "optimal", "kd")},
        }
    )
    results = Study(Distill(settings), tmp_path / "run", progress=False).run()
    assert set(results.chosen) == {"none", "identity", "optimal", "kd"}
    assert not (tmp_path / "run" / "trials" / "start").exists()


def test_two_heads_sit_on_a_network_of_ones_own(tmp_path, own):
    torch.save(Backbone(own).make(1, 9, 3).state_dict(), tmp_path / "net.pth")
    settings = JointSettings(
        **TRAINING
        | {
            "seeds": 1,
            "backbone": own,
            "initial": str(tmp_path / "net.pth"),
            "features": "initial",
            "layer_rates": {"0": 0.0, "5": 2.0},
            "methods": ("target", "consecutive", "jtln_ot"),
            "grids": {"jtln_ot": {"source": (1.0,), "alpha": (0.1,)}},
        }
    )
    results = Study(Joint(settings), tmp_path / "run", progress=False).run()
    assert set(results.chosen) == {"target", "consecutive", "jtln_ot"}
    frozen = torch.load(tmp_path / "net.pth")["0.weight"]
    for trial in results.test:
        if trial.method != "consecutive":
            path = tmp_path / "run" / "trials" / trial.name / "weights.pt"
            assert torch.equal(torch.load(path)["network.0.weight"], frozen)
    wrong = settings.model_copy(update={"layer_rates": {"features.8": 0.1}})
    with pytest.raises(ConfigError, match=r"layer_rates must name parts of .*'features\.8'"):
        Study(Joint(wrong), tmp_path / "other", progress=False).run()


def test_traces_are_told_for_every_block(tmp_path, own):
    torch.save(Backbone(own).make(1, 7, 3).state_dict(), tmp_path / "net.pth")
    settings = tiny(
        backbone=own,
        teacher=str(tmp_path / "net.pth"),
        source_data="none",
        methods=("l2sp",),
        grids={"l2sp": {"alpha": (0.1,)}},
        seeds=1,
    )
    run_transfer(settings, tmp_path / "run")
    layers = ("[01]", "5:input")
    wanted = TraceSettings(runs=(str(tmp_path / "run"),), layers=layers, batch_sizes=(8,))
    results = Study(Trace(wanted), tmp_path / "trace", progress=False).run()
    (record,) = results.records.values()
    assert list(record["traces"]) == ["0", "1", "5"]


@pytest.mark.parametrize(
    ("package", "name", "head"),
    [
        ("torchvision", "alexnet", "classifier.6"),
        ("torchvision", "resnet18", "fc"),
        ("torchvision", "densenet121", "classifier"),
        ("torchvision", "convnext_tiny", "classifier.2"),
        ("timm", "resnet18", "fc"),
        ("timm", "vit_tiny_patch16_224", "head"),
    ],
)
def test_networks_of_the_packages_are_what_is_expected_of_them(package, name, head):
    pytest.importorskip(package)
    backbone = Backbone(f"{package}:{name}")
    network = backbone.make(3, 5, 0).eval()
    assert backbone.head(network) == head
    layer = parse_layer(f"{head}:input")
    ((mine, theirs),) = widths(
        network, backbone.make(3, 2, 1), [layer], torch.zeros(1, 3, 224, 224)
    )
    assert mine == theirs == network.get_submodule(head).in_features


def test_resnet_101_has_33_residual_units():
    pytest.importorskip("torchvision")
    network = Backbone("torchvision:resnet101").make(3, 2, 0)
    units = matching(network, ["layer?.*"])
    assert len(units) == 33
    assert [units[k - 1] for k in (9, 19, 29)] == ["layer3.1", "layer3.11", "layer3.21"]
