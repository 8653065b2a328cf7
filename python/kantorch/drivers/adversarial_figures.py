"""Pictures of `kantorch adversarial`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
import torch

from kantorch._solve import solve_sample
from kantorch.training._matplotlib import agg_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kantorch.training._matplotlib import Figure
    from kantorch.training.results import Results

MOST = 16


def draw_filters(filters: Mapping[str, Sequence[list[list[list[float]]]]]) -> Figure:
    """Filters of the first layer before fine-tuning and after each method.

    Below each is the place that an optimal plan takes its filter from, where that is another one; the
    title compares W1 with the cost of the identity plan.
    """
    before = np.array(next(iter(filters.values()))[0])
    count = min(MOST, len(before))
    rows = {"before": before} | {name: np.array(pair[1]) for name, pair in filters.items()}
    figure = agg_figure(0.7 * count + 2.5, 0.95 * len(rows) + 0.4)
    grid = figure.subplots(len(rows), count, squeeze=False)
    limit = max(np.abs(found).max() for found in rows.values())
    start = torch.from_numpy(before).flatten(1)
    for line, (name, found) in zip(grid, rows.items(), strict=True):
        points = torch.from_numpy(found).flatten(1)
        result = solve_sample(points, start, metric="euclidean").check()
        source = result.plan.argmax(1)
        identity = torch.linalg.vector_norm(points - start, dim=1).mean()
        for place, axes in enumerate(line):
            axes.imshow(found[place], cmap="RdBu", vmin=-limit, vmax=limit)
            axes.set_xticks([])
            axes.set_yticks([])
            if source[place] != place:
                axes.set_xlabel(f"from {int(source[place])}", fontsize=6, labelpad=1)
        label = "" if name == "before" else f"\nW1 {result.value:.3f}\nidentity {identity:.3f}"
        line[0].set_ylabel(f"{name}{label}", rotation=0, ha="right", va="center", fontsize=7)
    return figure


def draw_prior(results: Results) -> Figure:
    """W1 between the kernels of each layer and the prior's, after each round of every method."""
    rows = [
        {"method": method, "step": row["step"], "layer": name.removeprefix("prior_"), "w1": value}
        for method in results.chosen
        for record in results.chosen_records(method)
        for row in record["history"]
        for name, value in row.items()
        if name.startswith("prior_")
    ]
    rounds = pd.DataFrame(rows)
    layers = list(dict.fromkeys(rounds["layer"]))
    figure = agg_figure(5 * len(layers), 4)
    for place, (axes, layer) in enumerate(
        zip(figure.subplots(1, len(layers), squeeze=False)[0], layers, strict=True)
    ):
        sns.lineplot(
            data=rounds[rounds["layer"] == layer],
            x="step",
            y="w1",
            hue="method",
            marker="o",
            errorbar=None,
            legend="auto" if place == 0 else False,
            ax=axes,
        )
        axes.set_title(layer)
        axes.set_xlabel("fine-tuning step")
        axes.set_ylabel("W1 to the prior's kernels")
        axes.grid(alpha=0.3)
    return figure
