"""The torch ops of kantorch, `torch.ops.kantorch.*`, and the only users of the compiled core.

Ops take a problem as it comes, cost (n, m) or (B, n, m) or the points that it is made from, weights (n,) or (B, n), and answer in batches,
(B, ...) with B = 1 if nothing was batched. Potentials are float64 whatever the cost's dtype, because
float32 cannot hold the exponent of a plan at small regularisation.
"""

from kantorch.ops._backend import why_no_cuda as why_no_cuda
from kantorch.ops.bound import dual_bound as dual_bound
from kantorch.ops.build import compiler as compiler
from kantorch.ops.build import core_version as core_version
from kantorch.ops.build import has_cuda as has_cuda
from kantorch.ops.build import set_simd_level as set_simd_level
from kantorch.ops.build import simd_level as simd_level
from kantorch.ops.build import why_not_on as why_not_on
from kantorch.ops.cost import Cost as Cost
from kantorch.ops.cost import Points as Points
from kantorch.ops.cost import Stored as Stored
from kantorch.ops.exact import ExactOutputs as ExactOutputs
from kantorch.ops.exact import exact as exact
from kantorch.ops.gibbs import gibbs as gibbs
from kantorch.ops.implicit import implicit as implicit
from kantorch.ops.ipot import ipot as ipot
from kantorch.ops.line import line as line
from kantorch.ops.scaling import ScalingOutputs as ScalingOutputs
from kantorch.ops.scaling_potentials import scaling_potentials as scaling_potentials
from kantorch.ops.sinkhorn import sinkhorn as sinkhorn
