"""Pictures of `kantorch w1`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch

from kantorch.training._matplotlib import agg_figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kantorch.training._matplotlib import Figure
    from kantorch.training.trial import Trial
    from kantorch.w1 import Pair

DOTS = 400


def draw_convergence(
    fits: Mapping[Trial, Mapping[str, Any]], truths: Mapping[int, float]
) -> Figure:
    """The estimate against the share of the iterations; dashed: the truth."""
    figure = agg_figure(5 * len(truths) + 2, 4)
    rows = pd.DataFrame(
        {
            "dimension": int(dict(trial.params)["dimension"]),
            "solver": trial.method,
            "share of the iterations": row["step"] / record["history"][-1]["step"],
            "estimate": row["estimate"],
        }
        for trial, record in fits.items()
        for row in record["history"]
        if len(record["history"]) > 1
    )
    for axes, (dimension, truth) in zip(
        figure.subplots(1, len(truths), squeeze=False)[0], truths.items(), strict=True
    ):
        if len(rows):
            sns.lineplot(
                data=rows[rows["dimension"] == dimension],
                x="share of the iterations",
                y="estimate",
                hue="solver",
                ax=axes,
            )
            sns.move_legend(axes, "upper left", bbox_to_anchor=(1, 1), fontsize="small")
        axes.axhline(truth, color="black", linestyle="--", linewidth=1)
        axes.set_ylim(min(-0.2, -0.2 * truth), 2.5 * truth)
        axes.set_title(f"D = {dimension}")
        axes.grid(alpha=0.3)
    return figure


def draw_slopes(frame: pd.DataFrame) -> Figure:
    """Mean norms of the gradient on and off the transport rays; an exact potential has 1 on them."""
    dimensions = list(dict.fromkeys(frame["dimension"]))
    figure = agg_figure(5 * len(dimensions), 4)
    long = frame.melt(
        ["dimension", "solver"], ["on_rays", "off_rays"], var_name="where", value_name="slope"
    )
    for axes, dimension in zip(
        figure.subplots(1, len(dimensions), squeeze=False)[0], dimensions, strict=True
    ):
        part = long[long["dimension"] == dimension]
        sns.stripplot(data=part, x="solver", y="slope", hue="where", ax=axes)
        axes.axhline(1, color="black", linestyle="--", linewidth=1)
        axes.tick_params(axis="x", rotation=60)
        axes.set_yscale("symlog", linthresh=2)
        axes.set_title(f"D = {dimension}")
        axes.grid(axis="y", alpha=0.3)
    return figure


def draw_surfaces(
    surfaces: Mapping[str, list[list[float]]], pair: Pair, reach: float = 2.5
) -> Figure:
    """Potentials in two dimensions, each from its own mean; samples of P and Q on the true one."""
    columns = 4
    rows = math.ceil(len(surfaces) / columns)
    figure = agg_figure(3.2 * columns, 3 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(surfaces) :]:
        axes.set_axis_off()
    axis = np.linspace(-reach, reach, len(next(iter(surfaces.values()))))
    for axes, (name, values) in zip(grid, surfaces.items(), strict=False):
        heights = np.array(values) - np.mean(values)
        axes.contourf(axis, axis, heights, levels=20, cmap="viridis")
        axes.set_title(name)
        axes.set_aspect("equal")
    x, y = _samples(pair)
    for points, colour, label in ((y, "white", "Q"), (x, "red", "P")):
        grid[0].plot(points[:, 0], points[:, 1], ".", color=colour, markersize=1.5, label=label)
    grid[0].legend(fontsize="x-small", loc="upper right")
    return figure


def draw_batches(
    batches: Mapping[int, Mapping[str, list[float]]], truths: Mapping[int, float]
) -> Figure:
    """Exact W1 between mini-batches against their size, in units of the truth."""
    figure = agg_figure(6, 4)
    axes = figure.subplots()
    for dimension, found in batches.items():
        values = np.array(list(found.values())) / truths[dimension]
        sizes = list(map(int, found))
        axes.errorbar(sizes, *values.T, marker="o", capsize=3, label=f"D = {dimension}")
    axes.axhline(1, color="black", linestyle="--", linewidth=1, label="the truth")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("samples in a batch")
    axes.set_ylabel("exact W1 between batches / W1")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def draw_samples(pairs: Mapping[int, Pair]) -> Figure:
    """Samples of P and Q in the first two principal components of both together."""
    figure = agg_figure(4 * len(pairs), 4)
    for axes, (dimension, pair) in zip(
        figure.subplots(1, len(pairs), squeeze=False)[0], pairs.items(), strict=True
    ):
        x, y = _samples(pair)
        both = np.concatenate([x, y])
        _, _, directions = np.linalg.svd(both - both.mean(0), full_matrices=False)
        for points, label in ((y, "Q"), (x, "P")):
            shown = (points - both.mean(0)) @ directions[:2].T
            axes.plot(*shown[:, :2].T, ".", markersize=3, label=label)
        axes.set_title(f"D = {dimension}")
        axes.legend(fontsize="small")
    return figure


def _samples(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    return pair.p(DOTS, generator).numpy(), pair.q(DOTS, generator).numpy()
