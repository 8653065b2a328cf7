"""Generators of transport problems with known answers, for tests and benchmarks."""

from __future__ import annotations

import numpy as np

from problems.base import Problem
from problems.closed_form import (
    constant,
    diracs,
    gaussian_map,
    grid_ties,
    image_shift,
    line,
    negative_dirac,
    no_mass,
    one_column,
    one_row,
    translation,
)
from problems.planted import (
    planted_degenerate,
    planted_float,
    planted_huge_offset,
    planted_negative,
    planted_permutation,
    planted_tree,
    planted_wide_range,
    planted_zero_mass,
)
from problems.ranges import ranged_cost, ranged_points, ranged_weights

__all__ = [
    "Problem",
    "catalogue",
    "constant",
    "diracs",
    "gaussian_map",
    "grid_ties",
    "image_shift",
    "line",
    "negative_dirac",
    "no_mass",
    "one_column",
    "one_row",
    "planted_degenerate",
    "planted_float",
    "planted_huge_offset",
    "planted_negative",
    "planted_permutation",
    "planted_tree",
    "planted_wide_range",
    "planted_zero_mass",
    "ranged_cost",
    "ranged_points",
    "ranged_weights",
    "translation",
]


def catalogue(seed: int = 0) -> list[Problem]:
    """One small problem of every kind, some in several shapes."""
    rng = np.random.default_rng(seed)
    return [
        diracs(),
        negative_dirac(),
        one_row(rng, 7),
        one_column(rng, 6),
        constant(rng, 4, 5),
        no_mass(rng, 3, 4),
        line(rng, 9, 7),
        line(rng, 8, 8, power=1.0),
        translation(rng, 10),
        gaussian_map(rng, 12),
        grid_ties(),
        image_shift(rng),
        planted_tree(rng, 2, 2),
        planted_tree(rng, 8, 8),
        planted_tree(rng, 5, 17),
        planted_tree(rng, 19, 3),
        planted_degenerate(rng, 7, 9),
        planted_degenerate(rng, 12, 12),
        planted_permutation(rng, 16),
        planted_float(rng, 11, 13),
        planted_wide_range(rng, 9, 8),
        planted_zero_mass(rng, 10, 12),
        planted_huge_offset(rng, 6, 9),
        planted_negative(rng, 9, 6),
    ]
