"""Fast, batched, differentiable optimal transport for PyTorch.

>>> import torch, kantorch
>>> result = kantorch.solve(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
>>> result.value
tensor(0.)
"""

from kantorch import costs as costs
from kantorch import critics as critics
from kantorch import regularizers as regularizers
from kantorch._result import OTResult as OTResult
from kantorch._solve import solve as solve
from kantorch._solve import solve_sample as solve_sample
from kantorch.config import show_config as show_config
from kantorch.errors import ConvergenceError as ConvergenceError
from kantorch.errors import ConvergenceWarning as ConvergenceWarning
from kantorch.errors import Status as Status
from kantorch.ops import core_version as _core_version

__version__ = _core_version()
