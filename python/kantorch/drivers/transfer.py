"""`kantorch transfer`: learn a source task, fine-tune the same network on a target task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from kantorch.drivers._command import command_of
from kantorch.drivers.fine_tuning import FineTuning, FineTuningSettings
from kantorch.training.model import ConvNet, make_network, with_classes
from kantorch.training.trial import Stage, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kantorch.training.driver import Place
    from kantorch.training.results import Results

SOURCE = "source"


class TransferSettings(FineTuningSettings):
    """Settings of `kantorch transfer`."""


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
        """One network, pre-trained once."""
        return [Stage(SOURCE, (Trial(SOURCE, seed=self.settings.data_seed),))]

    def facts(self) -> frozenset[str]:
        """Student and teacher start equal."""
        s = self.settings
        known = s.loss == "cross_entropy" and set(s.target_classes) <= set(s.source_classes)
        return frozenset(
            {"same_architecture", "same_width"} | ({"same_labels"} if known else set())
        )

    def pretrain(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Train the source network."""
        return self.fit_source(self._untrained(), trial, place, self.tasks.source())

    def start(self, place: Place) -> ConvNet:
        """The source network."""
        if self._start is None:
            self._start = self._untrained()
            place.weights(SOURCE).load_into(self._start)
        return self._start

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
        source = next(record for trial, record in results.records.items() if trial.stage == SOURCE)
        sizes = "\n".join(
            f"- {name}: {count} examples" for name, count in self.tasks.sizes().items()
        )
        return f"""# Fine-tuning with transport between representations

{self.summary(results)}

## Protocol

A network with convolutions of widths {list(s.channels)} learns the classes
{list(s.source_classes)} of `{s.source_data or s.data}` (validation {100 * self.score(source):.2f} %),
gets a new head, and is fine-tuned on the classes {list(s.target_classes)} of `{s.data}` with
{s.labels_per_class} labels per class. {self.protocol()}

{sizes}
"""


command = command_of(Transfer)
