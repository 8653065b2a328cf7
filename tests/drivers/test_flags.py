"""Every setting is a flag; what is given wins over the file, which wins over the preset."""

from __future__ import annotations

from typing import Annotated

import pytest
import yaml
from cyclopts import App, Parameter

from kantorch.cli import DRIVERS, main
from kantorch.drivers import Transfer, TransferSettings, _command
from kantorch.training.flags import flags_of, given
from kantorch.training.results import Results


def parse(*arguments):
    def command(*, flags=None):
        return given(flags)

    command.__annotations__["flags"] = Annotated[flags_of(TransferSettings), Parameter(name="*")]
    app = App(result_action="return_value")
    app.default(command)
    return app(list(arguments), exit_on_error=False, print_error=False)


def test_only_what_is_given_is_told():
    assert parse() == {}
    assert parse("--steps", "7") == {"steps": 7}
    assert parse("--normalize", "--solver", "exact") == {"normalize": True, "solver": "exact"}


def test_values_are_separated_by_commas():
    assert parse("--methods", "none, l2sp+bss") == {"methods": ["none", "l2sp+bss"]}
    assert parse("--learning-rates", "0.1,1e-2") == {"learning_rates": [0.1, 0.01]}
    assert parse("--data", "a,b.npz") == {"data": "a,b.npz"}  # one value is none of several


def test_grids_are_given_by_method_and_parameter():
    found = parse("--grids.l2.alpha", "0.1,0.2", "--grids.l2sp+bss.bss-alpha", "3")
    assert found == {"grids": {"l2": {"alpha": [0.1, 0.2]}, "l2sp+bss": {"bss_alpha": [3.0]}}}


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_every_setting_is_a_flag_with_help(driver, capsys):
    import importlib

    module = importlib.import_module(f"kantorch.drivers.{driver}")
    fields = getattr(module, f"{driver.capitalize()}Settings").model_fields
    assert main([driver, "--help"]) == 0
    printed = capsys.readouterr().out
    for name, field in fields.items():
        assert f"--{name.replace('_', '-')}" in printed
        assert field.description, name
    assert main(["--help"]) == 0
    assert DRIVERS[driver] in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def settings_of(monkeypatch, tmp_path):
    """The settings that a command line makes, without running anything."""
    made = []

    class Told:
        def __init__(self, driver, folder, **options):
            made.append((driver.settings, options))

        def run(self):
            return Results({}, {}, {}, {}, {})

    monkeypatch.setattr(_command, "Study", Told)
    monkeypatch.setattr(Transfer, "table", lambda self, results: "")

    def settings_of(*arguments):
        assert main(["transfer", "--output", str(tmp_path), *arguments]) == 0
        return made[-1]

    return settings_of


def test_flags_win_over_the_file_and_that_over_the_preset(settings_of, tmp_path):
    path = tmp_path / "own.yaml"
    # 7 steps fit to 7 rounds alone, which the flag does not know of.
    path.write_text(
        yaml.safe_dump({"rounds": 7, "pretrain_steps": 70, "seeds": 2, "momentum": 0.5})
    )
    found, options = settings_of(
        str(path), "--preset", "dogs-like", "--steps", "7", "--seeds", "4", "--workers", "3"
    )
    assert (found.steps, found.seeds, found.momentum, found.solver) == (7, 4, 0.5, "exact")
    assert options["workers"] == 3
    found, _ = settings_of()
    assert found == TransferSettings()
