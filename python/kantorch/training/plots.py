"""The run's three pictures, drawn without a display and without global state."""

from __future__ import annotations

import io
import statistics
from typing import TYPE_CHECKING

from kantorch.training._matplotlib import agg_figure
from kantorch.training.files import write_atomic
from kantorch.training.trials import Trial, final_accuracy, mean_and_deviation

if TYPE_CHECKING:
    from pathlib import Path

    from kantorch.training._matplotlib import Figure
    from kantorch.training.report import Results

COLOURS = {
    "none": "#7f7f7f",
    "l2": "#bcbd22",
    "l2sp": "#ff7f0e",
    "identity": "#2ca02c",
    "uniform": "#9467bd",
    "optimal": "#1f77b4",
}


def draw_accuracy(results: Results, path: Path) -> None:
    """Test accuracy per regularizer: mean, standard deviation, and every seed as a point."""
    figure = agg_figure(7, 4)
    axes = figure.subplots()
    names = results.config.regularizers
    for place, name in enumerate(names):
        accuracies = [100 * a for a in results.test_accuracies(name)]
        mean, deviation = mean_and_deviation(accuracies)
        axes.errorbar(
            place, mean, yerr=deviation, fmt="o", capsize=5, color=COLOURS[name], markersize=8
        )
        axes.plot([place + 0.18] * len(accuracies), accuracies, ".", color=COLOURS[name], alpha=0.6)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("test accuracy in %")
    axes.set_title(
        f"{results.config.labels_per_class} labels per class, {len(results.config.seeds)} seeds: "
        "mean ± standard deviation"
    )
    axes.grid(axis="y", alpha=0.3)
    _save(figure, path)


def draw_traces(results: Results, path: Path) -> None:
    """Trace of the transport plan to the starting point during fine-tuning, per layer.

    Dots: the exact plan on the validation examples, for every regularizer at its chosen strength.
    Thin line: the plan of each mini-batch, for the optimal regularizer.
    """
    layers = results.config.layers
    figure = agg_figure(7, 3.6 * len(layers))
    for axes, layer in zip(figure.subplots(len(layers), squeeze=False)[:, 0], layers, strict=True):
        for name in results.config.regularizers:
            records = results.chosen_records(name)
            if name == "optimal":
                steps = zip(*(record["traces"][layer] for record in records), strict=True)
                means = [statistics.fmean(traces) for traces in steps]
                label = "optimal, mini-batches"
                axes.plot(means, color=COLOURS[name], linewidth=0.8, alpha=0.7, label=label)
            rounds = list(zip(*(record["history"] for record in records), strict=True))
            key = f"validation_trace_{layer}"
            axes.plot(
                [rows[0]["step"] for rows in rounds],
                [statistics.fmean(row[key] for row in rows) for rows in rounds],
                ".-",
                color=COLOURS[name],
                label=name,
            )
        axes.set_xlabel("fine-tuning step")
        axes.set_ylabel("trace of the plan (mass 1)")
        axes.set_ylim(top=1.02)
        axes.set_title(f"{layer}: share of neurons that keep their place (1: the identity plan)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def draw_alphas(results: Results, path: Path) -> None:
    """Mean validation accuracy against the strength; the chosen one is ringed."""
    figure = agg_figure(7, 4)
    axes = figure.subplots()
    config = results.config
    for name in config.regularizers:
        grid = sorted(config.grid(name))
        means = [
            100
            * statistics.fmean(
                final_accuracy(results.records[Trial(name, alpha, seed)]) for seed in config.seeds
            )
            for alpha in grid
        ]
        if name == "none":
            axes.axhline(means[0], color=COLOURS[name], linestyle=":", label=name)
            continue
        axes.plot(grid, means, ".-", color=COLOURS[name], label=name)
        best = grid.index(results.chosen[name])
        axes.plot(
            grid[best], means[best], "o", color=COLOURS[name], fillstyle="none", markersize=11
        )
    axes.set_xscale("log")
    axes.set_xlabel("alpha")
    axes.set_ylabel("validation accuracy in %")
    axes.set_title("Choice of the strength (ringed)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomic(path, buffer.getvalue())
