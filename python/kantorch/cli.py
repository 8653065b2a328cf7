"""The command line: one command per driver, and `kantorch info`.

Only what a command needs is imported, when it runs; the drivers need the extra `train`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import kantorch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import CycloptsError

DRIVERS = {
    "transfer": "Fine-tune a network with each method and compare them.",
    "distill": "Teach a network by another one, and compare the methods.",
    "joint": "Learn a target task together with a source task.",
    "adversarial": "Hold kernels to the law of source kernels, and compare.",
    "trace": "Show which neurons kept their place in fine-tuning.",
    "w1": "Estimate W1 by continuous solvers, on pairs whose W1 is known.",
}
INSTALL = 'pip install "kantorch[train]"'


def info() -> None:
    """Show the version, the build, the SIMD level, threads and CUDA."""
    for name, value in kantorch.show_config().items():
        print(f"{name}: {value}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: None: those of the process.

    Returns:
        The exit status: 0, or 1 after an error, which is printed without a traceback.
    """
    try:
        from cyclopts import App, CycloptsError, Parameter
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
    for name, text in DRIVERS.items():
        app.command(f"kantorch.drivers.{name}:command", name=name, help=text)
    app.command(info)
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _fail(_words(error))
    except ImportError as error:
        # Cyclopts, which imports a command when it is asked for, hides what was missing.
        while isinstance(error.__cause__, ImportError):
            error = error.__cause__
        if not isinstance(error, ModuleNotFoundError):
            raise
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


def _words(error: CycloptsError) -> str:
    """Say what is wrong with the arguments."""
    from pydantic import ValidationError

    from kantorch.training.settings import sentence

    cause = error.__cause__
    return sentence(cause) if isinstance(cause, ValidationError) else str(error)


def _fail(message: str, status: int = 1) -> int:
    print(f"kantorch: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
