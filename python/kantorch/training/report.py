"""What a run leaves to read: the table, the metrics, the report and the pictures."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

from kantorch.config import show_config
from kantorch.training._yaml import dump_yaml
from kantorch.training.files import write_atomic, write_csv
from kantorch.training.plots import draw_accuracy, draw_alphas, draw_traces
from kantorch.training.trials import Trial, final_accuracy, mean_and_deviation

if TYPE_CHECKING:
    from pathlib import Path

    from kantorch.training.config import TransferConfig

TITLES = {
    "none": "none",
    "l2": "L2",
    "l2sp": "L2-SP",
    "identity": "identity transport",
    "uniform": "uniform transport",
    "optimal": "optimal transport",
}


@dataclass(frozen=True)
class Results:
    """Everything a run found out.

    Attributes:
        config: The settings.
        records: What each trial left, with its history by round.
        chosen: The strength of each regularizer, chosen on validation examples.
        test: Test accuracy, in [0, 1], of each chosen trial.
        source: The record of the pre-training.
        sizes: Number of examples of each part.
    """

    config: TransferConfig
    records: dict[Trial, dict[str, Any]]
    chosen: dict[str, float]
    test: dict[Trial, float]
    source: dict[str, Any]
    sizes: dict[str, int]

    def chosen_records(self, regularizer: str) -> list[dict[str, Any]]:
        """Return the records, per seed, at the chosen strength."""
        alpha = self.chosen[regularizer]
        return [self.records[Trial(regularizer, alpha, seed)] for seed in self.config.seeds]

    def test_accuracies(self, regularizer: str) -> list[float]:
        """Return the test accuracy per seed at the chosen strength."""
        alpha = self.chosen[regularizer]
        return [self.test[Trial(regularizer, alpha, seed)] for seed in self.config.seeds]

    def validation_accuracies(self, regularizer: str) -> list[float]:
        """Return the validation accuracy per seed at the chosen strength."""
        return [final_accuracy(record) for record in self.chosen_records(regularizer)]

    def traces(self, regularizer: str) -> list[float]:
        """Return the final trace, per seed, of the last of the compared layers."""
        key = f"validation_trace_{self.config.layers[-1]}"
        return [record["history"][-1][key] for record in self.chosen_records(regularizer)]

    def table(self) -> str:
        """Return the comparison as a Markdown table."""
        head = ("regularizer", "alpha", "test accuracy %", "minus none", "validation %", "trace")
        rows = [head, tuple("-" * len(name) for name in head)]
        baseline = self.test_accuracies("none") if "none" in self.chosen else None
        for name in self.config.regularizers:
            accuracies = self.test_accuracies(name)
            gain = "-"
            if baseline is not None and name != "none":
                pairs = zip(accuracies, baseline, strict=True)
                gain = _percent([mine - other for mine, other in pairs], sign="+")
            rows.append(
                (
                    TITLES[name],
                    "-" if name == "none" else repr(float(self.chosen[name])),
                    _percent(accuracies),
                    gain,
                    _percent(self.validation_accuracies(name)),
                    f"{statistics.fmean(self.traces(name)):.3f}",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [
            "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
            for row in rows
        ]
        return "\n".join(lines)


def _percent(values: list[float], sign: str = "") -> str:
    mean, deviation = mean_and_deviation([100 * value for value in values])
    spread = f" ± {deviation:.2f}" if len(values) > 1 else ""
    return f"{mean:{sign}.2f}{spread}"


def write_report(results: Results, folder: Path) -> None:
    """Write metrics.csv, results.csv, report.md and the pictures into the run folder."""
    write_csv(folder / "metrics.csv", _metric_rows(results))
    write_csv(folder / "results.csv", _result_rows(results))
    draw_accuracy(results, folder / "accuracy.png")
    draw_traces(results, folder / "trace.png")
    draw_alphas(results, folder / "alphas.png")
    write_atomic(folder / "report.md", _report(results).encode(errors="backslashreplace"))


def _metric_rows(results: Results) -> list[dict[str, Any]]:
    """One row per trial and round."""
    rows = [
        {"stage": "source", "regularizer": "none", "alpha": 0.0, "seed": "", **row}
        for row in results.source["history"]
    ]
    for trial, record in results.records.items():
        key = {
            "stage": "target",
            "regularizer": trial.regularizer,
            "alpha": trial.alpha,
            "seed": trial.seed,
        }
        rows += [key | row for row in record["history"]]
    return rows


def _result_rows(results: Results) -> list[dict[str, Any]]:
    """One row per trial, with the test accuracy of those that were chosen."""
    return [
        {
            "regularizer": trial.regularizer,
            "alpha": trial.alpha,
            "seed": trial.seed,
            "validation_accuracy": final_accuracy(record),
            "chosen": int(trial in results.test),
            "test_accuracy": results.test.get(trial, ""),
        }
        for trial, record in results.records.items()
    ]


def _report(results: Results) -> str:
    config = results.config
    sizes = "\n".join(f"- {name}: {count} examples" for name, count in results.sizes.items())
    build = show_config()
    seconds = sum(record["seconds"] for record in (results.source, *results.records.values()))
    versions = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("torch", "lightning", "torchmetrics", "scikit-learn", "numpy")
    )
    return f"""# Fine-tuning with transport between representations

{results.table()}

Mean ± sample standard deviation over {len(config.seeds)} seeds. *minus none*: paired by seed.
*trace*: of the exact plan between the neurons of `{config.layers[-1]}` before and after
fine-tuning, on the validation examples; 1 if every neuron is nearest to itself.

![Test accuracy per regularizer](accuracy.png)
![Trace of the transport plan during fine-tuning](trace.png)
![Validation accuracy against the strength](alphas.png)

## Protocol

A network with convolutions of widths {list(config.channels)} learns the classes
{list(config.source_classes)} of `{config.data}` (validation accuracy
{100 * final_accuracy(results.source):.2f} %), gets a new head, and is fine-tuned on the classes
{list(config.target_classes)} with {config.labels_per_class} labels per class: {config.steps}
mini-batches of {config.batch_size}, stochastic gradient descent with momentum {config.momentum},
learning rate {config.learning_rate}, a tenth of it after two thirds of the steps, images shifted by
up to {config.shift} pixel(s). The penalties compare the layer(s) {", ".join(config.layers)} with
the pre-trained network's on the same augmented mini-batch; optimal plans by {config.solver}.

Each seed draws the labelled examples, the head and the batches, the same for every regularizer.
A regularizer's alpha is the one of its grid with the best mean validation accuracy over the seeds;
the weights are those after the last step. The test part was drawn once, took part in no choice, and
was measured once, for the chosen strengths, after every training had ended.

{sizes}

## Machine

{platform.machine()}, {platform.system()}, {os.cpu_count()} cores, {config.num_threads} thread(s),
{_accelerator(config.accelerator)}; Python {platform.python_version()};
kantorch {build["version"]} ({build["simd"]}), {versions}.
Training took {seconds:.0f} s, without what was lost to interruptions.

## Settings

```yaml
{dump_yaml(config.to_mapping()).rstrip()}
```
"""


def _accelerator(choice: str) -> str:
    if choice != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"accelerator {choice!r}, no CUDA device" if choice != "cpu" else "CPU only"
