"""Matplotlib without a backend: figures that are drawn by Agg and known to nobody else.

Imported before anything that imports matplotlib (torchmetrics does): a process that a notebook
starts inherits the notebook's MPLBACKEND, and `import matplotlib` fails if that is not installed.
"""

from __future__ import annotations

import contextlib
import os
import sys


def _import_matplotlib() -> None:
    """Import it as if it came without the variable, then do what it does with the variable."""
    backend = os.environ.get("MPLBACKEND")
    if not backend or "matplotlib" in sys.modules:
        return
    del os.environ["MPLBACKEND"]
    try:
        import matplotlib as mpl
    finally:
        os.environ["MPLBACKEND"] = backend
    # A name that is refused here is of no use to anybody in this process.
    with contextlib.suppress(ValueError):
        mpl.rcParams["backend"] = backend


_import_matplotlib()

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["Figure", "agg_figure"]


def agg_figure(width: float, height: float) -> Figure:
    """Make a figure of a size in inches, outside of pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
