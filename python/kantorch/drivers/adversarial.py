"""`kantorch adversarial`: kernels of a target network near those of several source networks."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import torch

from kantorch._solve import solve_sample
from kantorch.drivers._command import command_of
from kantorch.drivers.comparison_settings import Names
from kantorch.drivers.fine_tuning import FineTuning, FineTuningSettings, Learnt
from kantorch.regularizers import KernelPrior, kernels
from kantorch.regularizers.kernel_prior import Kernel, weight_of
from kantorch.training.errors import RunError
from kantorch.training.files import system_path, write_atomic
from kantorch.training.module import TARGET
from kantorch.training.ranks import first_decides
from kantorch.training.records import is_number
from kantorch.training.results import markdown
from kantorch.training.settings import Count
from kantorch.training.trial import Stage, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from kantorch.training._matplotlib import Figure
    from kantorch.training.driver import Place
    from kantorch.training.results import Results

SOURCE, PRIOR = "source", "prior"
FILE = "prior.pt"
MOST = 1024  # kernels of a layer that W1 to the prior is measured between
DISTANCES = ("w1", "mean", "rms", "prior")


class AdversarialSettings(FineTuningSettings):
    """Settings of `kantorch adversarial`."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # For MNIST to USPS: the same ten classes, by other writers.
        "mnist-digits": {
            "source_data": "mnist5k",
            "source_classes": tuple(range(10)),
            "target_classes": tuple(range(10)),
            "learning_rates": (0.02, 0.05),
            "seeds": 10,
        },
    }

    sources: Count = 5
    """Networks for the source task, from different weights and batches, whose kernels are pooled."""
    prior: str | None = None
    """A file of pooled kernels, a run folder's trials/prior/prior.pt, in place of pooling them."""
    kernel: Kernel = "slice"
    """What a kernel is: what joins one channel with one, or what makes one channel."""
    methods: Names = (
        "none",
        "l2",
        "l2sp",
        "delta",
        "bss",
        "l2sp+bss",
        "filters",
        "filters_critics",
    )
    """Which to compare; also those of `kantorch transfer`, and sums of two such as delta+bss."""


class Adversarial(FineTuning[AdversarialSettings]):
    """Hold kernels to the law of source kernels, and compare.

    Learns the source task several times (by default five times the bundled digits 0-4), pools the
    kernels of every convolution in a file, and fine-tunes the first network on the target task (digits
    5-9): with W1 between its kernels and the pooled ones as a penalty, exact or by critics, and with its
    rivals. With --teacher and --prior nothing of the source is needed. Writes what `kantorch transfer`
    writes, how far kernels moved in every layer, and filters before and after.

    Source: the thesis on adversarial transfer, sections 3.1 (the penalty, lemma 3.1) and 3.4 (five
    source networks, pooled).
    """

    name: ClassVar[str] = "adversarial"
    settings_type = AdversarialSettings
    teacher_stage = f"{SOURCE}0"
    pictures: ClassVar[tuple[str, ...]] = (
        *FineTuning.pictures,
        *("filters.png", "prior.png", "displacements.csv", f"trials/{PRIOR}/{FILE}"),
    )

    def __init__(self, settings: AdversarialSettings) -> None:
        super().__init__(settings)
        self._priors: dict[Path, KernelPrior] = {}

    def learnt(self) -> Mapping[str, Learnt]:
        """The source networks; where the prior is a file, the first alone."""
        s = self.settings
        count = s.sources if s.prior is None else 1
        return {
            f"{SOURCE}{k}": Learnt(
                self.backbone, s.data_seed + k, path=s.teacher if k == 0 else None
            )
            for k in range(count)
        }

    def facts(self) -> frozenset[str]:
        """Student and teacher start equal, and there is a prior."""
        return super().facts() | {"same_architecture", "same_width", "prior"}

    def start(self, place: Place, trial: Trial) -> nn.Module:
        """The first source network."""
        return self.network(self.teacher_stage, place)

    def inputs(self) -> Mapping[str, str]:
        """The data, and what is handed in."""
        prior = self.settings.prior
        return {**super().inputs(), **({} if prior is None else {"prior": prior})}

    def sources(self) -> Sequence[Stage]:
        """The source networks and the pooling of their kernels."""
        pooled = Stage(PRIOR, (Trial(PRIOR),))
        return [*super().sources(), *([pooled] if self.settings.prior is None else [])]

    def steps(self, trial: Trial) -> int:
        """Mini-batches; pooling is one."""
        return 1 if trial.stage == PRIOR else super().steps(trial)

    def prepare(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Train a source network, or pool the kernels of all."""
        if trial.stage != PRIOR:
            return super().prepare(trial, place)
        networks = [self.network(stage, place) for stage in self.learnt()]
        prior = KernelPrior.from_models(networks, kernel=self.settings.kernel)
        buffer = io.BytesIO()
        prior.save(buffer)
        first_decides(lambda: write_atomic(place.of(trial) / FILE, buffer.getvalue()))
        place.advance(1)
        return {"kernels": {name: list(points.shape) for name, points in prior.samples.items()}}

    def prior(self, place: Place) -> KernelPrior:
        """The pooled kernels, read once."""
        name = self.settings.prior
        path = place.of(Trial(PRIOR)) / FILE if name is None else system_path(name)
        if path not in self._priors:
            self._priors[path] = first_decides(lambda: _read(path))
        return self._priors[path]

    def watched(self, student: nn.Module, place: Place) -> Callable[[], Mapping[str, float]]:
        """W1 between the student's kernels and the prior's, for every layer."""
        prior = self.prior(place)

        def distances() -> dict[str, float]:
            return {
                f"prior_{layer}": _w1(
                    kernels(weight_of(student, layer, "the student"), prior.kernel), points
                )
                for layer, points in prior.samples.items()
            }

        return distances

    def train(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Fine-tune, and measure how far the kernels have gone."""
        record = super().train(trial, place)
        after, before = self.untrained(trial), self.start(place, trial)
        place.weights(trial.name).load_into(after)
        prior = self.prior(place)
        networks = {"the start": before, "the student": after}

        def both(layer: str, kernel: Kernel) -> list[Tensor]:
            return [kernels(weight_of(net, layer, of), kernel) for of, net in networks.items()]

        record["displacements"] = {
            layer: _displacements(*both(layer, prior.kernel))
            | {"prior": record["history"][-1][f"prior_{layer}"]}
            for layer in prior.samples
        }
        # Those of the first convolution can be looked at.
        first = next(n for n, part in after.named_modules() if isinstance(part, torch.nn.Conv2d))
        shape = weight_of(after, first, "the student").shape[2:]
        record["filters"] = [found.reshape(-1, *shape).tolist() for found in both(first, "slice")]
        return record

    def faults(self, trial: Trial, record: Mapping[str, Any]) -> Iterable[str]:
        """Check history and distances."""
        if trial.stage == PRIOR:
            if not isinstance(record.get("kernels"), dict):
                yield "kernels must hold the shapes of all layers"
            return
        yield from super().faults(trial, record)
        if trial.stage == TARGET:
            found = record.get("displacements")
            layers = found if isinstance(found, dict) and found else {"": {}}
            rows = layers.values()
            if not all(is_number(row.get(name)) for row in rows for name in DISTANCES):
                yield f"displacements must hold {', '.join(DISTANCES)} for every layer"
            names = [f"prior_{layer}" for layer in layers]
            if not all(is_number(row.get(name)) for row in record["history"] for name in names):
                yield f"history must hold {', '.join(names)} in every round"

    # What is told.

    def tables(self, results: Results) -> Mapping[str, pd.DataFrame]:
        """How far the kernels of each layer have gone, for the chosen trials."""
        rows = [
            {"method": t.method, "seed": t.seed, "layer": layer} | row
            for t in results.test
            for layer, row in results.records[t]["displacements"].items()
        ]
        columns = ["method", "seed", "layer", *DISTANCES]
        return {"displacements.csv": pd.DataFrame(rows, columns=columns)}

    def draw(self, results: Results) -> Mapping[str, Figure]:
        """The comparison, and filters before and after."""
        from kantorch.drivers.adversarial_figures import draw_filters, draw_prior

        if not results.chosen:  # every trial diverged
            return {}
        chosen: dict[str, Any] = {}  # of the first seed
        for trial in results.test:
            chosen.setdefault(trial.method, results.records[trial]["filters"])
        return {
            **super().draw(results),
            "filters.png": draw_filters(chosen),
            "prior.png": draw_prior(results),
        }

    def report(self, results: Results) -> str:
        """Tell what was done."""
        s = self.settings
        means = (
            self.tables(results)["displacements.csv"]
            .groupby(["method", "layer"], sort=False)[list(DISTANCES)]
            .mean()
        )
        table = markdown(means.map("{:.4f}".format).reset_index())
        where = "read from a file" if s.prior is not None else f"pooled from {s.sources} networks"
        return f"""# Fine-tuning with kernels near those of source networks

{self.summary(results)}

## How far kernels went

{table}

Means over the chosen trials, in the space of one kernel ({s.kernel}): *w1* between all kernels of the
layer before and after, *mean* and *rms* of how far each went from its own place (w1 <= mean <= rms,
lemma 3.1), and *prior*: w1 between the kernels after and those of the prior, at most {MOST} of each.

![W1 to the prior during fine-tuning](prior.png)
![Filters of the first layer](filters.png)

## Protocol

Several times a {self.backbone.told()} learns {self.source_told()}. Their kernels are {where}. The first of the networks
({self.origin(results, self.teacher_stage)}) gets a new head, and is fine-tuned on the classes
{self.tasks.told("target")} of `{s.data}` with {s.labels_per_class} labels per class.
{self.protocol()}
"""


def _read(path: Path) -> KernelPrior:
    try:
        return KernelPrior.load(path)
    except Exception as error:  # whatever a broken file makes torch raise
        msg = f"cannot read the prior {path}: {type(error).__name__}: {error}"
        raise RunError(msg) from error


def _displacements(before: Tensor, after: Tensor) -> dict[str, float]:
    before, after = before.detach().double(), after.detach().double()
    moved = torch.linalg.vector_norm(after - before, dim=1)
    w1 = solve_sample(after, before, metric="euclidean").check().value.item()
    return {"w1": w1, "mean": moved.mean().item(), "rms": moved.square().mean().sqrt().item()}


def _w1(kernels: Tensor, prior: Tensor) -> float:
    """W1 between two sets of kernels, thinned evenly."""
    points = (found.detach().double()[:: -(-len(found) // MOST)] for found in (kernels, prior))
    return solve_sample(*points, metric="euclidean").check().value.item()


command = command_of(Adversarial)
