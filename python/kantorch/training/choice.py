"""The choice of parameters: by the trials' scores alone, which the test has no part in."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kantorch.training.trial import Params, Trial


def choose(scores: Mapping[Trial, float], failed: Collection[Trial] = ()) -> dict[str, Params]:
    """Choose for each method the point of its grid with the best mean score over the seeds.

    Of equals the first wins, which is the one with the smallest values. A point with a trial that
    failed is not chosen, however well its other seeds did; a method without other points is left out.
    """
    bad = {(trial.method, trial.params) for trial in failed}
    points: dict[str, dict[Params, list[float]]] = {}
    for trial, score in scores.items():
        if (trial.method, trial.params) in bad:
            continue
        points.setdefault(trial.method, {}).setdefault(trial.params, []).append(score)
    # Rounded: sums of the same numbers in another order are equal.
    return {
        method: max(found, key=lambda point: round(statistics.fmean(found[point]), 9))
        for method, found in points.items()
    }
