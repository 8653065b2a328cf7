"""A driver as a command."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from kantorch.training._yaml import load_yaml
from kantorch.training.flags import flags_of, given
from kantorch.training.ranks import is_writer
from kantorch.training.show import show
from kantorch.training.study import Study

if TYPE_CHECKING:
    from kantorch.training.driver import Driver


RESUME = """A run that was interrupted goes on when the same command is repeated. Settings that are
not given keep their defaults, which the run folder's config.yaml shows; several values are separated
by commas."""


def command_of(kind: type[Driver[Any]]) -> App:
    """Make the command of a driver: its settings are the flags, its docstring the help."""
    settings_type = kind.settings_type

    def command(
        config: Path | None = None,
        *,
        output: Path = Path("runs") / kind.name,
        preset: str | None = None,
        workers: int = 1,
        force: bool = False,
        force_unlock: bool = False,
        progress: bool = True,
        flags: Any = None,
    ) -> None:
        mapping = {} if config is None else load_yaml(config)
        settings = settings_type.from_mapping(mapping | given(flags), preset)
        driver = kind(settings)
        results = Study(
            driver,
            output,
            workers=workers,
            force=force,
            force_unlock=force_unlock,
            progress=progress,
        ).run()
        if is_writer():
            show(driver.table(results))
            if results.failed:
                show(f"\n{len(results.failed)} trial(s) diverged; the report says which.")
            show(f"\nReport: {output / 'report.md'}")

    command.__doc__ = f"""{_summary(kind)}

    Args:
        config: YAML file of settings, as config.yaml in a run folder; the options win.
        output: The run folder.
        preset: Settings to begin with: {", ".join(settings_type.presets) or "there are none"}.
        workers: Processes that the trials are shared out to; the results are the same for any number.
        force: Start afresh if the folder holds a run with other settings.
        force_unlock: Take over the lock that a dead run on another host left.
        progress: Show a progress bar.
    """
    command.__annotations__["flags"] = Annotated[flags_of(settings_type), Parameter(name="*")]
    app = App(name=kind.name, help_epilogue=f"{_details(kind)}\n\n{RESUME}")
    app.default(command)
    return app


def _summary(kind: type[Driver[Any]]) -> str:
    return cleandoc(str(kind.__doc__)).partition("\n")[0]


def _details(kind: type[Driver[Any]]) -> str:
    return cleandoc(str(kind.__doc__)).partition("\n")[2].strip()
