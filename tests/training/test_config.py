"""Settings: round trip, errors that name the setting, differences."""

from __future__ import annotations

import pytest

from kantorch.drivers import TransferSettings
from kantorch.training import ConfigError
from kantorch.training._yaml import dump_yaml, load_yaml
from kantorch.training.settings import difference
from training.tiny import TINY, identity, tiny


def test_settings_survive_yaml(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml(tiny().to_mapping()))
    assert TransferSettings.from_yaml(path) == tiny()
    assert TransferSettings.from_mapping({}) == TransferSettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("labels_per_class", 0),
        ("labels_per_class", 2.5),
        ("labels_per_class", True),
        ("seeds", 0),
        ("seeds", (0, 1)),
        ("first_seed", -1),
        ("first_seed", 2**62),
        ("data_seed", 2**63),
        pytest.param("pretrain_learning_rate", 10**400, id="an integer beyond floats"),
        ("learning_rates", ()),
        ("learning_rates", 0.1),
        ("test_fraction", 1.0),
        ("momentum", 1.0),
        ("pretrain_learning_rate", 0.0),
        ("pretrain_learning_rate", float("nan")),
        ("pretrain_learning_rate", "fast"),
        ("channels", (8, 8)),
        ("layers", ("pool", "head")),
        ("layers", ()),
        ("methods", ("none", "l3")),
        ("methods", ("none", "none")),
        ("methods", ("l2sp+l2sp",)),
        ("methods", ()),
        ("grids", {"l2sp": {"alpha": ()}}),
        ("grids", {"l2sp": {"alpha": (0.0,)}}),
        ("grids", {"optimal": {"alpha": (0.1, 0.1)}}),
        ("grids", {"optimal": {"beta": (0.1,)}}),
        ("solver", "simplex"),
        ("accelerator", "abacus"),
        ("source_classes", (0,)),
        ("source_fraction", 0.0),
        ("target_classes", (5, 5)),
        ("target_classes", (4, 5)),
        ("steps", 7),
        ("num_threads", 0),
        ("head_beta", -0.1),
        ("data", None),
    ],
)
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(ConfigError, match=f"{name}.*must"):
        TransferSettings(**(TINY | {name: value}))


def test_the_settings_of_a_run_folder_are_settings():
    recorded = identity(tiny()) | {"data_sha256": "0"}
    assert TransferSettings.from_mapping(recorded) == tiny()


def test_an_unknown_setting_is_named_with_a_near_one():
    with pytest.raises(ConfigError, match="'step_s'; did you mean steps"):
        TransferSettings.from_mapping({"step_s": 3})


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.e-3", ".1e-2", "+1e-3", "0.001", "1.0e-3"])
def test_powers_of_ten_are_numbers(tmp_path, text):
    """As in JSON and YAML 1.2; YAML 1.1, which PyYAML reads, wants a point and a sign."""
    path = tmp_path / "config.yaml"
    path.write_text(f"pretrain_learning_rate: {text}\ngrids: {{optimal: [{text}, 1e1]}}\n")
    found = load_yaml(path)
    assert found == {"pretrain_learning_rate": 0.001, "grids": {"optimal": [0.001, 10.0]}}


@pytest.mark.parametrize("name", ["1e-3", "1e3", "on", "1", "~", "e3", "1e", "a: b"])
def test_names_that_look_like_numbers_come_back_as_names(tmp_path, name):
    path = tmp_path / "config.yaml"
    path.write_text(dump_yaml({"data": name}))
    assert load_yaml(path) == {"data": name}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps: 6\nseeds: [0]\nsteps: 12\n", r"'steps' .*line 3"),
        ("alphas: {l2: [1.0], 'l2': [2.0]}\n", "'l2' .*line 1"),
    ],
)
def test_a_setting_that_is_given_twice_is_refused(tmp_path, text, words):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"(?s)config\.yaml.*{words}"):
        load_yaml(path)


def test_a_merged_setting_may_be_given_again(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("alphas: &a {l2: [1.0]}\nx: {<<: *a, l2: [2.0]}\n")
    assert load_yaml(path)["x"] == {"l2": [2.0]}


@pytest.mark.parametrize(
    "text",
    [
        "- 1\n",
        "a: [1\n",
        "!!python/object/apply:os.system ['touch pwned']\n",
        "",
        "a: &a [*a]\n",
        "a: 2001-99-99\n",
        "a: !!bool x\n",
        "? [1]\n: 2\n",
        "a: " + "[" * 10_000,
        "a: 1\n---\na: 2\n",
        "a: \0\n",
    ],
)
def test_files_that_are_no_settings_are_refused(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        TransferSettings.from_yaml(path)
    assert not (tmp_path / "pwned").exists()


def test_difference_names_what_changed():
    old, new = tiny().to_mapping(), tiny(steps=12).to_mapping()
    assert difference(old, new) == ["steps: 6 -> 12"]
    assert difference(old, old) == []
    assert difference({}, {"a": 1}) == ["a: (absent) -> 1"]
