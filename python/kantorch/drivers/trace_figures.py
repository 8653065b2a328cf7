"""Pictures of `kantorch trace`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns

from kantorch.training._matplotlib import agg_figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from kantorch.training._matplotlib import Figure

TRACE = "trace of the plan (mass 1)"


def draw_depth(traces: pd.DataFrame) -> Figure:
    """The trace against the layer, one line per run."""
    figure = agg_figure(6, 4)
    axes = figure.subplots()
    sns.lineplot(data=traces, x="layer", y="trace", hue="run", marker="o", ax=axes)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel(TRACE)
    axes.grid(alpha=0.3)
    return figure


def draw_plan(plan: pd.DataFrame, title: str) -> Figure:
    """A plan between neurons; ringed: those that are matched with another place."""
    figure = agg_figure(7, 6)
    axes = figure.subplots()
    sns.heatmap(plan, cmap="viridis", vmin=0, vmax=1, square=True, ax=axes)
    rows, columns = np.nonzero(plan.to_numpy() > 0.5)
    moved = rows != columns
    axes.plot(
        columns[moved] + 0.5, rows[moved] + 0.5, "o", color="red", fillstyle="none", markersize=7
    )
    axes.set_xlabel("neuron before")
    axes.set_ylabel("neuron after")
    axes.set_title(f"{title}: {int(moved.sum())} of {len(plan)} changed places", fontsize="small")
    return figure


def draw_batches(batches: pd.DataFrame) -> Figure:
    """Omega_P and the trace against the size of mini-batches."""
    figure = agg_figure(10, 4)
    labels = {"omega": "Omega_P / root of the batch size", "trace": TRACE}
    for axes, (name, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        sns.lineplot(data=batches, x="batch", y=name, hue="run", marker="o", errorbar="sd", ax=axes)
        axes.set_xscale("log", base=2)
        axes.set_xlabel("images in a mini-batch")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    return figure


def draw_training(during: Mapping[str, Mapping[str, list[float]]]) -> Figure:
    """The trace of each mini-batch's plan in training, per run and layer."""
    figure = agg_figure(7, 4)
    axes = figure.subplots()
    for run, layers in during.items():
        for layer, traces in layers.items():
            axes.plot(traces, linewidth=0.8, label=f"{run}, {layer}")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("fine-tuning step")
    axes.set_ylabel(TRACE)
    axes.grid(alpha=0.3)
    if during:
        axes.legend(fontsize="small")
    return figure
