"""The command line: `kantorch transfer` and `kantorch info`.

Only what a command needs is imported, when it runs; the drivers need the extra `train`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import kantorch

if TYPE_CHECKING:
    from collections.abc import Sequence

INSTALL = 'pip install "kantorch[train]"'


def transfer(
    config: Path | None = None,
    *,
    output: Path = Path("runs/transfer"),
    data: str | None = None,
    image_layout: Literal["auto", "channels_first", "channels_last"] | None = None,
    seeds: int | None = None,
    labels_per_class: int | None = None,
    regularizers: str | None = None,
    layers: str | None = None,
    steps: int | None = None,
    solver: Literal["ipot", "exact"] | None = None,
    accelerator: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    num_threads: int | None = None,
    force: bool = False,
    force_unlock: bool = False,
    progress: bool = True,
) -> None:
    """Fine-tune a network with each regularizer and compare them.

    Pre-trains a small convolutional network on a source task (by default the bundled digits 0-4),
    fine-tunes it on a target task with few labels (digits 5-9), once per regularizer, strength and
    seed, chooses strengths on validation examples, and tests once. Prints a table and writes
    config.yaml, metrics.csv, results.csv, report.md, pictures and TensorBoard logs. A run that was
    interrupted goes on when the same command is repeated. About two minutes on two cores.

    Settings that are not given keep their defaults, which the run folder's config.yaml shows.

    Args:
        config: YAML file of settings, as config.yaml in a run folder; the options below win.
        output: The run folder.
        data: "digits", or an .npz file with `images` and integer `labels`.
        image_layout: Of images with channels: "auto" goes by the one axis of at most four entries.
        seeds: Number of fine-tunings per regularizer and strength.
        labels_per_class: Training examples per target class.
        regularizers: Comma-separated, of none, l2, l2sp, identity, uniform, optimal.
        layers: Comma-separated, of block1, block2, block3, pool: what transport compares.
        steps: Mini-batches of one fine-tuning.
        solver: Of the optimal plan.
        accelerator: What Lightning is to use.
        num_threads: CPU threads.
        force: Start afresh if the folder holds a run with other settings.
        force_unlock: Take over the lock that a dead run on another host left.
        progress: Show a progress bar.
    """
    from kantorch.training import TransferConfig, run_transfer
    from kantorch.training._yaml import load_yaml
    from kantorch.training.files import unicode_name
    from kantorch.training.ranks import is_writer

    given: dict[str, Any] = {
        "data": None if data is None else unicode_name(data),
        "image_layout": image_layout,
        "seeds": None if seeds is None else list(range(seeds)),
        "labels_per_class": labels_per_class,
        "regularizers": None if regularizers is None else _names(regularizers),
        "layers": None if layers is None else _names(layers),
        "steps": steps,
        "solver": solver,
        "accelerator": accelerator,
        "num_threads": num_threads,
    }
    mapping = {} if config is None else load_yaml(config)
    mapping |= {name: value for name, value in given.items() if value is not None}
    results = run_transfer(
        TransferConfig.from_mapping(mapping),
        output,
        force=force,
        force_unlock=force_unlock,
        progress=progress,
    )
    if is_writer():
        _show(results.table())
        _show(f"\nReport: {output / 'report.md'}")


def info() -> None:
    """Show the version, the build, the SIMD level, threads and CUDA."""
    for name, value in kantorch.show_config().items():
        _show(f"{name}: {value}")


def _show(text: str) -> None:
    """Print what the terminal's encoding can show; other characters must not end a finished run."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace("± ", "+-")  # as wide, so that tables stay straight
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    print(text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: None: those of the process.

    Returns:
        The exit status: 0, or 1 after an error, which is printed without a traceback.
    """
    try:
        from cyclopts import App, Parameter
    except ModuleNotFoundError as error:
        return _fail(f"the command line needs {error.name}, which is not installed: {INSTALL}")
    app = App(
        name="kantorch",
        help="Optimal transport for PyTorch: what is built on it.",
        version=kantorch.__version__,
        default_parameter=Parameter(negative_iterable=()),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    app.command(transfer)
    app.command(info)
    try:
        app(arguments)
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition(".")[0]
        return _fail(f"this command needs {package}, which is not installed: {INSTALL}")
    except KeyboardInterrupt:
        return _fail("interrupted; repeat the command to go on", status=130)
    except RuntimeError as error:
        from kantorch.training.errors import RunError

        if not isinstance(error, RunError):
            raise
        return _fail(str(error))
    return 0


def _fail(message: str, status: int = 1) -> int:
    print(f"kantorch: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
