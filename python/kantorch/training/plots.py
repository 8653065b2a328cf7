"""The run's three pictures, drawn without a display and without global state."""

from __future__ import annotations

import io
import statistics
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from kantorch.training.files import write_atomic
from kantorch.training.units import Unit, final_accuracy, mean_and_deviation

if TYPE_CHECKING:
    from pathlib import Path

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
    figure = Figure(figsize=(7, 4), layout="constrained")
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

    Lines: the exact plan on the validation examples, for every regularizer at its chosen strength.
    Dashes: the plan of the mini-batches, for the optimal regularizer.
    """
    layers = results.config.layers
    figure = Figure(figsize=(7, 3.6 * len(layers)), layout="constrained")
    for axes, layer in zip(figure.subplots(len(layers), squeeze=False)[:, 0], layers, strict=True):
        for name in results.config.regularizers:
            keys = [(f"validation_trace_{layer}", "-", name)]
            if name == "optimal":
                keys.append((f"batch_trace_{layer}", "--", "optimal, mini-batches"))
            for key, style, label in keys:
                steps, traces = _mean_curve(results, name, key)
                axes.plot(steps, traces, style, marker=".", color=COLOURS[name], label=label)
        axes.set_xlabel("fine-tuning step")
        axes.set_ylabel("trace of the plan (mass 1)")
        axes.set_ylim(top=1.02)
        axes.set_title(f"{layer}: share of neurons that keep their place (1: the identity plan)")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    _save(figure, path)


def draw_alphas(results: Results, path: Path) -> None:
    """Mean validation accuracy against the strength; the chosen one is ringed."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    config = results.config
    for name in config.regularizers:
        grid = sorted(config.grid(name))
        means = [
            100
            * statistics.fmean(
                final_accuracy(results.records[Unit(name, alpha, seed)]) for seed in config.seeds
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


def _mean_curve(results: Results, name: str, key: str) -> tuple[list[int], list[float]]:
    histories = [
        results.records[Unit(name, results.chosen[name], seed)]["history"]
        for seed in results.config.seeds
    ]
    steps = [int(row["step"]) for row in histories[0]]
    means = [
        statistics.fmean(float(row[key]) for row in rows) for rows in zip(*histories, strict=True)
    ]
    return steps, means


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomic(path, buffer.getvalue())
