"""Pictures of a comparison, drawn without a display and without global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import seaborn as sns

from kantorch.training._matplotlib import agg_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kantorch.training._matplotlib import Figure
    from kantorch.training.results import Results


def draw_tests(results: Results, measure: str) -> Figure:
    """The test per method: mean, standard deviation, and every seed as a point."""
    figure = agg_figure(7, 4)
    axes = figure.subplots()
    frame = results.frame()
    frame = frame[frame["chosen"] == 1]
    points = pd.DataFrame({"method": frame["method"], measure: 100 * frame["test"]})
    options = {"data": points, "x": "method", "y": measure, "hue": "method", "ax": axes}
    sns.stripplot(**options, alpha=0.5, size=4, jitter=False, legend=False)
    sns.pointplot(**options, errorbar="sd", capsize=0.2, legend=False)
    axes.set_ylabel(f"test {measure} in %")
    axes.set_title(f"{len(results.seeds)} seeds: mean ± standard deviation")
    axes.grid(axis="y", alpha=0.3)
    return figure


def draw_choice(results: Results, measure: str) -> Figure:
    """The mean validation against the strength, at the chosen other parameters; ringed: the choice."""
    figure = agg_figure(7, 4)
    axes = figure.subplots()
    colours = sns.color_palette(n_colors=len(results.chosen))
    frame = results.frame()
    for colour, method in zip(colours, results.chosen, strict=True):
        chosen = dict(results.chosen[method])
        strength = next((name for name in chosen if name.endswith("alpha")), None)
        rows = frame[frame["method"] == method]
        for name, value in chosen.items():
            if name != strength:
                rows = rows[rows[name] == value]
        if strength is None:
            mean = 100 * rows["validation"].mean()
            axes.axhline(mean, color=colour, linestyle=":", label=method)
            continue
        means = 100 * rows.groupby(strength)["validation"].mean()
        axes.plot(means.index, means, ".-", color=colour, label=method)
        best = chosen[strength]
        axes.plot(best, means[best], "o", color=colour, fillstyle="none", markersize=11)
    axes.set_xscale("log")
    axes.set_xlabel("alpha")
    axes.set_ylabel(f"validation {measure} in %")
    axes.set_title("Choice of the strength (ringed)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def draw_matrices(tables: Mapping[str, pd.DataFrame], columns: str, rows: str) -> Figure:
    """Tables of numbers as labelled heat maps, side by side."""
    figure = agg_figure(4.5 * len(tables), 4.5)
    for axes, (title, table) in zip(
        figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True
    ):
        sns.heatmap(table, annot=True, fmt=".2f", cmap="viridis", ax=axes, annot_kws={"size": 8})
        axes.set_xlabel(columns)
        axes.set_ylabel(rows)
        axes.set_title(title)
    return figure


def draw_traces(results: Results, layers: Sequence[str]) -> Figure:
    """The trace of the transport plan to the starting point during training, per layer.

    Dots: the exact plan on the validation examples, for every method at its chosen parameters; the
    band is the standard deviation over the seeds. Thin line: the plan of each mini-batch, for the
    optimal regularizer.
    """
    figure = agg_figure(7, 3.6 * len(layers))
    rounds = pd.DataFrame(
        {"method": method, **row}
        for method in results.chosen
        for record in results.chosen_records(method)
        for row in record["history"]
    )
    for axes, layer in zip(figure.subplots(len(layers), squeeze=False)[:, 0], layers, strict=True):
        if "optimal" in results.chosen:
            traces = [r["traces"][layer] for r in results.chosen_records("optimal")]
            steps = pd.DataFrame(traces).mean()
            label = "optimal, mini-batches"
            axes.plot(steps, color="black", linewidth=0.8, alpha=0.6, label=label)
        sns.lineplot(
            data=rounds,
            x="step",
            y=f"validation_trace_{layer}",
            hue="method",
            marker="o",
            errorbar="sd",
            ax=axes,
        )
        axes.set_xlabel("fine-tuning step")
        axes.set_ylabel("trace of the plan (mass 1)")
        axes.set_ylim(top=1.02)
        axes.set_title(f"{layer}: share of neurons that keep their place (1: the identity plan)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
