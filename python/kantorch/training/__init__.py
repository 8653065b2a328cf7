"""The frame of all drivers: studies, settings, methods, training, reports.

Needs the extra: `pip install "kantorch[train]"`. Nothing of it is imported by `import kantorch`.
"""

from kantorch.training import _matplotlib as _matplotlib  # before all that import matplotlib
from kantorch.training.driver import Driver, Place
from kantorch.training.errors import ConfigError, NonFiniteError, RunError
from kantorch.training.methods import Methods
from kantorch.training.settings import Settings
from kantorch.training.study import Study
from kantorch.training.trial import Stage, Trial

__all__ = [
    "ConfigError",
    "Driver",
    "Methods",
    "NonFiniteError",
    "Place",
    "RunError",
    "Settings",
    "Stage",
    "Study",
    "Trial",
]
