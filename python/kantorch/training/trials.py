"""The trials of a run: one training each, recorded when it is done and not before."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kantorch.training.config import TransferConfig


@dataclass(frozen=True)
class Trial:
    """One fine-tuning."""

    regularizer: str
    alpha: float
    seed: int

    @property
    def name(self) -> str:
        """The trial's folder, below `trials`."""
        # All digits: strengths that differ may not share a folder.
        strength = "" if self.regularizer == "none" else f"-alpha{float(self.alpha)!r}"
        return f"{self.regularizer}{strength}-seed{self.seed}"


def all_trials(config: TransferConfig) -> list[Trial]:
    """List the trials of a run, seed by seed, so that early results cover every regularizer."""
    return [
        Trial(regularizer, alpha, seed)
        for seed in config.seeds
        for regularizer in config.regularizers
        for alpha in config.grid(regularizer)
    ]


def final_accuracy(record: dict[str, Any]) -> float:
    """The validation accuracy after the last round."""
    return float(record["history"][-1]["validation_accuracy"])


def choose_alphas(config: TransferConfig, records: dict[Trial, dict[str, Any]]) -> dict[str, float]:
    """Choose each regularizer's strength by the mean validation accuracy over the seeds.

    Of equals the smallest strength wins. The test part has no say.
    """
    chosen = {}
    for regularizer in config.regularizers:
        means = {
            alpha: statistics.fmean(
                final_accuracy(records[Trial(regularizer, alpha, seed)]) for seed in config.seeds
            )
            for alpha in sorted(config.grid(regularizer))
        }
        chosen[regularizer] = max(means, key=lambda alpha: (round(means[alpha], 9), -alpha))
    return chosen


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; the latter is NaN for one value."""
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return statistics.fmean(values), spread
