"""All solvers by name: a solver is added by a file in `solvers` that registers its class."""

from __future__ import annotations

import importlib
import pkgutil
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from kantorch._check import require_choice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kantorch.w1.solver import Solver

Class = TypeVar("Class", bound="type[Solver]")

_solvers: dict[str, type[Solver]] = {}


def register(solver: Class) -> Class:
    """Enter a class under its `name`; used as a decorator."""
    _solvers[solver.name] = solver
    return solver


def solvers() -> Mapping[str, type[Solver]]:
    """Every solver's class by its name, in the order of the names.

    >>> "gp" in solvers()
    True
    """
    package = importlib.import_module("kantorch.w1.solvers")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    return MappingProxyType(dict(sorted(_solvers.items())))


def make_solver(name: str, **settings: Any) -> Solver:
    """A solver by its name.

    Args:
        name: A key of `solvers`.
        settings: What differs from the solver's defaults.

    Raises:
        ValueError: If the name is unknown, or a setting is out of range.
        TypeError: If the solver has no such setting.

    >>> make_solver("gp", iterations=10).iterations
    10
    """
    known = solvers()
    return known[require_choice("name", name, tuple(known))](**settings)
