"""`kantorch transfer`: learn a source task, fine-tune the same network on a target task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from kantorch.drivers._command import command_of
from kantorch.drivers.fine_tuning import FineTuning, FineTuningSettings
from kantorch.training.model import ConvNet, make_network, with_classes
from kantorch.training.records import Weights
from kantorch.training.trial import Stage, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kantorch.training.driver import Place
    from kantorch.training.results import Results

SOURCE = "source"

# Ten classes are learnt first, five of them fine-tuned on other images: as ImageNet's dogs, after
# ImageNet. The source knows the target, so that whatever keeps it may help.
DOGS_LIKE = {
    "source_classes": tuple(range(10)),
    "target_classes": (5, 6, 7, 8, 9),
    "source_fraction": 0.5,
    "steps": 150,
    "learning_rates": (0.02, 0.05),
    "normalize": True,
    "solver": "exact",
    "seeds": 20,
    "grids": {
        "l2": {"alpha": (0.001, 0.01, 0.1)},
        "l2sp": {"alpha": (0.01, 0.1, 1.0)},
        "identity": {"alpha": (0.1, 0.3, 1.0)},
        "uniform": {"alpha": (0.1, 0.3, 1.0)},
        "optimal": {"alpha": (0.1, 0.3, 1.0)},
    },
}
PRESETS: dict[str, dict[str, Any]] = {
    "dogs-like": DOGS_LIKE,
    # Other classes than those that were learnt: as cars after ImageNet.
    "cars-like": {"source_classes": (0, 1, 2, 3, 4), "target_classes": (5, 6, 7, 8, 9)},
    # The same ten classes, written by other people and scanned otherwise.
    "mnist-digits": DOGS_LIKE
    | {"source_data": "mnist5k", "target_classes": tuple(range(10)), "source_fraction": 1.0},
}


class TransferSettings(FineTuningSettings):
    """Settings of `kantorch transfer`."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    teacher: str | None = None
    """Weights of the network for the source task, a file of its state_dict as a run folder's
    trials/source/weights.pt, in place of learning them."""


class Transfer(FineTuning[TransferSettings]):
    """Fine-tune a network with each method and compare them.

    Pre-trains a small convolutional network on a source task (by default the bundled digits 0-4),
    fine-tunes it on a target task with few labels (digits 5-9), once per method, point of its grid
    and seed, chooses parameters on validation examples, and tests once. Prints a table and writes
    config.yaml, metrics.csv, results.csv, differences.csv, report.md, pictures and TensorBoard logs.
    About two minutes on two cores.

    Source: Li et al.: Representation Transfer by Optimal Transport, section 4.2, in small.
    """

    name: ClassVar[str] = "transfer"
    settings_type = TransferSettings

    def sources(self) -> Sequence[Stage]:
        """One network, pre-trained once, unless it is handed in."""
        if self.settings.teacher is not None:
            return []
        return [Stage(SOURCE, (Trial(SOURCE, seed=self.settings.data_seed),))]

    def facts(self) -> frozenset[str]:
        """Student and teacher start equal."""
        s = self.settings
        known = s.loss == "cross_entropy" and set(s.target_classes) <= set(s.source_classes)
        return frozenset(
            {"same_architecture", "same_width"} | ({"same_labels"} if known else set())
        )

    def prepare(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Train the source network."""
        return self.fit_source(self._untrained(), trial, place, self.tasks.source())

    def start(self, place: Place) -> ConvNet:
        """The source network."""
        if self._start is None:
            self._start = self._untrained()
            self._weights(place).load_into(self._start)
        return self._start

    def _weights(self, place: Place) -> Weights:
        path = self.settings.teacher
        return place.weights(SOURCE) if path is None else Weights.given("teacher", path)

    def inputs(self) -> Mapping[str, str]:
        """The data and the network that are handed in."""
        path = self.settings.teacher
        return {**super().inputs(), **({} if path is None else {"teacher": path})}

    def teacher(self, place: Place) -> ConvNet:
        """The source network, with the outputs for the target classes where it has them."""
        if "same_labels" not in self.facts():
            return self.start(place)
        s = self.settings
        return with_classes(
            self.start(place), [s.source_classes.index(c) for c in s.target_classes]
        )

    def _untrained(self) -> ConvNet:
        channels, seed = self.settings.channels, self.settings.data_seed
        return make_network(self.tasks.in_channels, channels, self.source_outputs, seed)

    _start: ConvNet | None = None

    def report(self, results: Results) -> str:
        """Tell what was done."""
        s = self.settings
        learnt = [self.score(r) for trial, r in results.records.items() if trial.stage == SOURCE]
        how = f"validation {100 * learnt[0]:.2f} %" if learnt else f"read from {s.teacher}"
        return f"""# Fine-tuning with transport between representations

{self.summary(results)}

## Protocol

A network with convolutions of widths {list(s.channels)} learns the classes
{list(s.source_classes)} of `{s.source_data or s.data}` ({how}),
gets a new head, and is fine-tuned on the classes {list(s.target_classes)} of `{s.data}` with
{s.labels_per_class} labels per class. {self.protocol()}

{self.sizes()}
"""


command = command_of(Transfer)
