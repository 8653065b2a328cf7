"""Continuous solvers of Wasserstein-1, bounds, and pairs of distributions of which W1 is known."""

from kantorch.w1.bounds import Bounds, bounds
from kantorch.w1.estimate import Estimate
from kantorch.w1.registry import make_solver, register, solvers
from kantorch.w1.sampler import Sampler
from kantorch.w1.solver import Solver

__all__ = [
    "Bounds",
    "Estimate",
    "Sampler",
    "Solver",
    "bounds",
    "make_solver",
    "register",
    "solvers",
]
