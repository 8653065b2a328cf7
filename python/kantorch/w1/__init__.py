"""Continuous solvers of Wasserstein-1, bounds, and pairs of distributions of which W1 is known."""

from kantorch.w1.benchmark import GradientErrors, Outcome, Slopes, batch_estimates, run
from kantorch.w1.bounds import Bounds, bounds
from kantorch.w1.estimate import Estimate
from kantorch.w1.funnels import FunnelPair
from kantorch.w1.network_pair import NetworkPair
from kantorch.w1.pair import MonteCarlo, Pair
from kantorch.w1.registry import make_solver, register, solvers
from kantorch.w1.sampler import Sampler
from kantorch.w1.solver import Solver

__all__ = [
    "Bounds",
    "Estimate",
    "FunnelPair",
    "GradientErrors",
    "MonteCarlo",
    "NetworkPair",
    "Outcome",
    "Pair",
    "Sampler",
    "Slopes",
    "Solver",
    "batch_estimates",
    "bounds",
    "make_solver",
    "register",
    "run",
    "solvers",
]
