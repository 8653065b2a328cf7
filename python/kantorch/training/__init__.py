"""Drivers on top of the regularizers: data, training, checkpoints, reports.

Needs the extra: `pip install "kantorch[train]"`. Nothing of it is imported by `import kantorch`.
"""

from kantorch.training import _matplotlib as _matplotlib  # before all that import matplotlib
from kantorch.training.config import TransferConfig
from kantorch.training.errors import ConfigError, NonFiniteError, RunError
from kantorch.training.runner import run_transfer

__all__ = ["ConfigError", "NonFiniteError", "RunError", "TransferConfig", "run_transfer"]
