"""`kantorch transfer`: learn a source task, fine-tune the same network on a target task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import model_validator

from kantorch.drivers import protocols
from kantorch.drivers._command import command_of
from kantorch.drivers.fine_tuning import FineTuning, FineTuningSettings, Learnt
from kantorch.training.backbones import CONVNET
from kantorch.training.model import ConvNet, with_permuted_neurons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn
    from typing_extensions import Self

    from kantorch.training.driver import Place
    from kantorch.training.results import Results
    from kantorch.training.trial import Trial

SOURCE = "source"

# Ten classes are learnt first, five of them fine-tuned on other images: as ImageNet's dogs, after
# ImageNet. The source knows the target, so that whatever keeps it may help.
DOGS_LIKE: dict[str, Any] = {
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
    | {
        "source_data": "mnist5k",
        "target_classes": tuple(range(10)),
        "source_fraction": 1.0,
        # Moved from where the best rates and strengths lay on the edges.
        "learning_rates": (0.05, 0.1, 0.2),
        "grids": {
            "l2": {"alpha": (0.0001, 0.001, 0.01)},
            "l2sp": {"alpha": (0.001, 0.01, 0.1)},
            "identity": {"alpha": (0.01, 0.03, 0.1, 0.3)},
            "uniform": {"alpha": (0.3, 1.0, 3.0, 10.0)},
            "optimal": {"alpha": (0.01, 0.03, 0.1, 0.3)},
        },
    },
    # The student's neurons are the teacher's in another order, in which places mean nothing.
    "permuted": DOGS_LIKE
    | {
        "permuted": True,
        "grids": DOGS_LIKE["grids"]
        | {name: {"alpha": (0.1, 0.3, 1.0, 3.0)} for name in ("identity", "uniform", "optimal")},
    },
}


class TransferSettings(FineTuningSettings):
    """Settings of `kantorch transfer`."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    permuted: bool = False
    """Whether the student, a "convnet", starts with the last convolution's channels in an order that
    its seed draws: the same function, but no neuron is at its place."""

    @model_validator(mode="after")
    def _permute_what_is_known(self) -> Self:
        if self.permuted and self.backbone != CONVNET:
            msg = f"permuted is for the backbone {CONVNET}, got {self.backbone!r}"
            raise ValueError(msg)
        return self

    @classmethod
    def paper(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """ResNet-101 on the target task's data."""
        return protocols.transfer(given)


class Transfer(FineTuning[TransferSettings]):
    """Fine-tune a network with each method and compare them.

    Pre-trains a small convolutional network on a source task (by default the bundled digits 0-4),
    fine-tunes it on a target task with few labels (digits 5-9), once per method, point of its grid
    and seed, chooses parameters on validation examples, and tests once. Prints a table and writes
    config.yaml, metrics.csv, results.csv, differences.csv, report.md, pictures and TensorBoard logs.

    Source: Li et al.: Representation Transfer by Optimal Transport, section 4.2, in small.
    """

    name: ClassVar[str] = "transfer"
    settings_type = TransferSettings

    teacher_stage = SOURCE

    def learnt(self) -> Mapping[str, Learnt]:
        """One network, which the student starts from and is held to."""
        s = self.settings
        return {SOURCE: Learnt(self.backbone, s.data_seed, path=s.teacher)}

    def facts(self) -> frozenset[str]:
        """Student and teacher start equal."""
        return super().facts() | {"same_architecture", "same_width"}

    def start(self, place: Place, trial: Trial) -> nn.Module:
        """The network that was learnt."""
        learnt = self.network(SOURCE, place)
        if not self.settings.permuted:
            return learnt
        assert isinstance(learnt, ConvNet)
        return with_permuted_neurons(learnt, trial.seed)

    def report(self, results: Results) -> str:
        """Tell what was done."""
        s = self.settings
        order = ", its last convolution's channels in another order" if s.permuted else ""
        return f"""# Fine-tuning with transport between representations

{self.summary(results)}

## Protocol

A {self.backbone.told()} learns {self.source_told()} ({self.origin(results, SOURCE)}), gets a new
head{order}, and is fine-tuned on the classes {self.tasks.told("target")} of `{s.data}` with
{s.labels_per_class} labels per class.
{self.protocol()}
"""


command = command_of(Transfer)
