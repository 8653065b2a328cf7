"""`kantorch trace`: which neurons of a fine-tuned network took the place of which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import pandas as pd
import torch
from pydantic import Field
from torch.utils.data import TensorDataset

from kantorch.drivers._command import command_of
from kantorch.drivers.adversarial import Adversarial
from kantorch.drivers.distill import Distill
from kantorch.drivers.transfer import Transfer
from kantorch.regularizers import RepresentationTransport
from kantorch.training._yaml import load_yaml
from kantorch.training.backbones import CONVNET
from kantorch.training.batches import evaluation_loader
from kantorch.training.driver import Driver, Place
from kantorch.training.errors import RunError
from kantorch.training.files import read_json, system_path
from kantorch.training.folder import CONFIG, RECORD, TEST, TRIALS, WEIGHTS
from kantorch.training.layers import matching, parse_layer
from kantorch.training.model import LAYERS
from kantorch.training.records import is_number
from kantorch.training.results import markdown
from kantorch.training.settings import Count, Settings
from kantorch.training.trace import PlanTrace
from kantorch.training.trial import Stage, Trial
from kantorch.training.views import LazyImages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from kantorch.drivers.fine_tuning import FineTuning
    from kantorch.regularizers import Layer
    from kantorch.training._matplotlib import Figure
    from kantorch.training.batches import Examples
    from kantorch.training.results import Results

READABLE: Mapping[str, type[FineTuning[Any]]] = {
    kind.name: kind for kind in (Transfer, Distill, Adversarial)
}
PLANS = "plans"
REPEATS = 5


class TraceSettings(Settings):
    """Settings of `kantorch trace`."""

    runs: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("runs/transfer",)
    """Finished run folders of `kantorch transfer`, `distill` or `adversarial`, one curve each."""
    layers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Layers to compare, as in `kantorch transfer`; `layer?.*` are all modules that match. Empty: all
    of "convnet", of other networks those of the run."""
    examples: Count = 3000
    """Images, at most, that the plans are computed from."""
    method: str = "l2sp"
    """Whose networks are looked at, as the test chose them."""
    batch_sizes: Annotated[tuple[Count, ...], Field(strict=False, min_length=1)] = (
        8,
        16,
        32,
        64,
        128,
        256,
    )
    """Sizes of mini-batches that Omega_P and the trace are shown for."""


class Trace(Driver[TraceSettings]):
    """Show which neurons kept their place in fine-tuning.

    Reads finished folders of `kantorch transfer`, `distill` or `adversarial`. Per layer, the exact plan
    between the student's neurons before and after fine-tuning, over all images of the target task
    outside of the test part, by distances that are summed over batches; the plan of the last layer as a
    heat map; Omega_P and the trace against the size of mini-batches; and the trace during training with
    the optimal regularizer. Writes config.yaml, traces.csv, batches.csv, report.md and pictures.

    Source: Li et al.: Representation Transfer by Optimal Transport, figures 2 and 3.
    """

    name: ClassVar[str] = "trace"
    settings_type = TraceSettings
    unit: ClassVar[str] = "run"
    pictures: ClassVar[tuple[str, ...]] = (
        "depth.png",
        "plan.png",
        "batches.png",
        "training.png",
        "traces.csv",
        "batches.csv",
    )

    def stages(self) -> Sequence[Stage]:
        """One trial per run."""
        trials = tuple(Trial(PLANS, f"run{place}") for place in range(len(self.settings.runs)))
        return [Stage(PLANS, trials)]

    def inputs(self) -> Mapping[str, str]:
        """The weights that are compared."""
        found = {}
        for place, run in enumerate(self.settings.runs):
            folder = system_path(run)
            driver = _driver(folder)
            for stage, learnt in driver.learnt().items():
                path = learnt.path or str(folder / TRIALS / stage / WEIGHTS)
                found[f"run{place}_{stage}"] = path
            after = self._tested(folder, driver)
            found[f"run{place}_after"] = str(folder / TRIALS / after.name / WEIGHTS)
        return found

    def _tested(self, folder: Path, driver: FineTuning[Any]) -> Trial:
        """The first trial of the method that was tested."""
        wanted = self.settings.method
        trials = self._all_tested(folder, driver, wanted)
        if not trials:
            msg = f"method must be one that was compared in {folder}, got {wanted!r}"
            raise RunError(msg)
        return trials[0]

    def _all_tested(self, folder: Path, driver: FineTuning[Any], method: str) -> list[Trial]:
        """The trials of a method that were tested; there are none if every one diverged."""
        if not (folder / TEST).exists():
            msg = f"runs must hold finished folders of fine-tuning: {folder} has no {TEST}"
            raise RunError(msg)
        tested = read_json(folder / TEST)
        trials = [trial for stage in driver.stages() for trial in stage.trials]
        return [trial for trial in trials if trial.method == method and trial.name in tested]

    def run(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Compare the networks of a run."""
        folder = system_path(self.settings.runs[int(trial.method.removeprefix("run"))])
        driver = _driver(folder)
        there = Place(folder)
        tested = self._tested(folder, driver)
        before = driver.start(there, tested).eval()
        after = driver.untrained(tested)
        there.weights(tested.name).load_into(after)
        after.eval()
        examples = _some(driver.tasks.pool(), self.settings.examples)
        layers = [parse_layer(text) for text in matching(before, self._layers(driver))]
        watch = PlanTrace(after, before, layers)
        for images, *_ in evaluation_loader(examples):
            watch.observe(images)
        plans = watch.plans()
        during = None
        for optimal in self._all_tested(folder, driver, "optimal")[:1]:
            during = read_json(folder / TRIALS / optimal.name / RECORD)["traces"]
        place.advance(1)
        return {
            "folder": str(folder),
            "after": tested.name,
            "examples": len(examples),
            "traces": {layer: plan.diagonal().sum().item() for layer, plan in plans.items()},
            "plan": plans[layers[-1].name].tolist(),
            "batches": self._batches(before, after, layers[-1], examples),
            "during": during,
        }

    def _layers(self, driver: FineTuning[Any]) -> Sequence[str]:
        if self.settings.layers:
            return self.settings.layers
        if driver.settings.backbone == CONVNET:
            return LAYERS
        return [f"{x.name}:input" if x.of == "input" else x.name for x in driver.layers]

    def _batches(
        self, before: nn.Module, after: nn.Module, layer: Layer, examples: Examples
    ) -> dict[str, list[list[float]]]:
        """Omega_P per root of the batch size, and the trace, of some mini-batches of each size."""
        generator = torch.Generator().manual_seed(0)
        penalty = RepresentationTransport(
            after, before, layers=[layer], solver="exact", normalize=True
        )
        found: dict[str, list[list[float]]] = {}
        with penalty, torch.no_grad():
            for size in self.settings.batch_sizes:
                rows = []
                for _ in range(REPEATS if size < len(examples) else 1):
                    drawn = torch.randperm(len(examples), generator=generator)[:size]
                    after(examples[drawn.tolist()][0])
                    rows.append([penalty().item(), penalty.traces[layer.name].item()])
                found[str(size)] = rows
        return found

    def faults(self, trial: Trial, record: Mapping[str, Any]) -> Iterable[str]:
        """Check the traces."""
        traces = record.get("traces")
        if not isinstance(traces, dict) or not traces:
            yield "traces must hold the layers"
        elif not all(is_number(value) for value in traces.values()):
            yield "traces must hold finite numbers"

    # What is told.

    def tables(self, results: Results) -> Mapping[str, pd.DataFrame]:
        """Traces by layer, and what mini-batches show."""
        records = list(results.records.values())
        traces = [
            {"run": r["folder"], "layer": layer, "trace": trace}
            for r in records
            for layer, trace in r["traces"].items()
        ]
        batches = [
            {"run": r["folder"], "batch": int(size), "omega": omega, "trace": trace}
            for r in records
            for size, rows in r["batches"].items()
            for omega, trace in rows
        ]
        return {"traces.csv": pd.DataFrame(traces), "batches.csv": pd.DataFrame(batches)}

    def table(self, results: Results) -> str:
        """The trace of every layer and run."""
        table = self.tables(results)["traces.csv"].pivot_table(
            index="run", columns="layer", values="trace", sort=False
        )
        return markdown(table.map("{:.3f}".format).reset_index())

    def report(self, results: Results) -> str:
        """Tell what was done."""
        runs = "\n".join(
            f"- {r['folder']}: {r['after']}, {r['examples']} images"
            for r in results.records.values()
        )
        return f"""# Neurons that kept their place

{self.table(results)}

Traces of exact plans of mass 1: 1 if every neuron after fine-tuning is nearest to itself before.

![Trace by layer](depth.png)
![Plan of the last run at its last layer](plan.png)
![Mini-batches](batches.png)
![During training](training.png)

## What was compared

{runs}

*batches.png*: Omega_P divided by the root of the batch size, and the trace of the plan, of {REPEATS}
mini-batches of each size. *training.png*: the plan of each mini-batch while the optimal regularizer was on.
"""

    def draw(self, results: Results) -> Mapping[str, Figure]:
        """All pictures."""
        from kantorch.drivers import trace_figures as figures

        tables = self.tables(results)
        records = list(results.records.values())
        plan = pd.DataFrame(records[-1]["plan"])
        during = {r["folder"]: r["during"] for r in records if r["during"]}
        return {
            "depth.png": figures.draw_depth(tables["traces.csv"]),
            "plan.png": figures.draw_plan(plan * len(plan), records[-1]["folder"]),
            "batches.png": figures.draw_batches(tables["batches.csv"]),
            "training.png": figures.draw_training(during),
        }


def _driver(folder: Path) -> FineTuning[Any]:
    """The driver that has made a run folder, with its settings."""
    config = folder / CONFIG
    name = str(load_yaml(config).get("driver")) if config.exists() else None
    if name is None or name not in READABLE:
        found = f"{folder} has no {CONFIG}" if name is None else f"{folder} is of {name}"
        msg = f"runs must hold folders of kantorch {', '.join(READABLE)}: {found}"
        raise RunError(msg)
    kind = READABLE[name]
    return kind(kind.settings_type.from_yaml(config))


def _some(examples: Examples, most: int) -> Examples:
    """At most so many of the examples, drawn."""
    if len(examples) <= most:
        return examples
    drawn = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))[:most]
    if isinstance(examples, LazyImages):
        places, labels = examples.places[drawn], examples.labels[drawn]
        return LazyImages(examples.images, places.tolist(), labels.tolist(), examples.view)
    return TensorDataset(*(part[drawn] for part in examples.tensors))


command = command_of(Trace)
