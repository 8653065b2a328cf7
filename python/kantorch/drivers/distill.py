"""`kantorch distill`: another network teaches the student what few labels do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from kantorch.drivers import protocols
from kantorch.drivers._command import command_of
from kantorch.drivers.comparison_settings import Widths
from kantorch.drivers.fine_tuning import FineTuning, FineTuningSettings, Learnt
from kantorch.training.backbones import CONVNET, Backbone
from kantorch.training.settings import Count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn
    from typing_extensions import Self

    from kantorch.training.driver import Place
    from kantorch.training.results import Results
    from kantorch.training.trial import Trial

TEACHER, START, COMPRESSED = "teacher", "start", "compressed"

COMMON = {"steps": 150, "normalize": True, "solver": "exact", "seeds": 20}
RIVALS = ("none", "l2", "l2sp", "identity", "uniform", "optimal", "fitnet", "kd")
GRIDS = {
    "l2": {"alpha": (0.001, 0.01, 0.1)},
    "l2sp": {"alpha": (0.01, 0.1, 1.0)},
    "identity": {"alpha": (1.0, 3.0, 10.0)},
    "uniform": {"alpha": (1.0, 3.0, 10.0)},
    "optimal": {"alpha": (3.0, 10.0, 30.0)},
    "fitnet": {"alpha": (0.3, 1.0, 3.0)},
    "kd": {"alpha": (0.3, 1.0, 3.0)},
}
STRONG_TEACHER = {
    "source_classes": tuple(range(10)),
    "source_fraction": 0.5,
    "learning_rates": (0.02, 0.05),
    "methods": RIVALS,
    # Wider than at first: the best strengths lay on the edges.
    "grids": GRIDS
    | {name: {"alpha": (0.1, 0.3, 1.0, 3.0, 10.0)} for name in ("identity", "uniform")}
    | {"optimal": {"alpha": (0.3, 1.0, 3.0, 10.0, 30.0)}, "kd": {"alpha": (0.3, 1.0, 3.0, 10.0)}},
}
# As above, where ten images a class teach little: larger images of more writers.
STRONG_TEACHER_MNIST = STRONG_TEACHER | {
    "data": "mnist5k-14x14",
    "source_fraction": 0.6,
    "grids": GRIDS
    | {name: {"alpha": (0.3, 1.0, 3.0, 10.0)} for name in ("identity", "uniform", "fitnet", "kd")}
    | {"optimal": {"alpha": (1.0, 3.0, 10.0, 30.0)}},
}
NEW_TASK = {
    "new_task": True,
    "channels": (8, 16, 32),
    "teacher_channels": (16, 32, 64),
    "steps": 300,
    "learning_rates": (0.02, 0.05, 0.1),
    "methods": (*RIVALS, COMPRESSED),
    # Moved from where the best rates and strengths lay on the edges.
    "grids": GRIDS
    | {"l2": {"alpha": (0.0001, 0.001, 0.01)}, "fitnet": {"alpha": (0.03, 0.1, 0.3, 1.0)}}
    | {name: {"alpha": (0.1, 0.3, 1.0, 3.0)} for name in ("uniform", "optimal")},
}


class DistillSettings(FineTuningSettings):
    """Settings of `kantorch distill`."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "strong-teacher": COMMON | STRONG_TEACHER,
        "strong-teacher-mnist": COMMON | STRONG_TEACHER_MNIST,
        "new-task": COMMON | NEW_TASK,
    }

    teacher_backbone: str = CONVNET
    """The teacher's network, as `backbone`."""
    teacher_head: str | None = None
    """Its linear module that gives the outputs. None: its last linear module."""
    teacher_channels: Widths = (32, 64, 64)
    """Widths of the teacher's convolutions, if it is a "convnet"."""
    start_per_class: Count = 10
    """Examples of each source class that the student has learnt from before."""
    new_task: bool = False
    """Whether the student starts from random weights instead, and the teacher knows another task."""

    random_start: bool = False
    """Whether the student starts from random weights, though the teacher knows the same task."""

    @classmethod
    def paper(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """ResNet-1001 or WRN-28-10 to ResNet-56 on CIFAR."""
        return protocols.distill(given)

    @property
    def from_nothing(self) -> bool:
        """Whether the student has learnt nothing before."""
        return self.new_task or self.random_start

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], preset: str | None = None) -> Self:
        """Make settings from plain data; without a preset, from that of the question asked."""
        if mapping.get("protocol") == "paper":
            return super().from_mapping(mapping, preset)
        question = "new-task" if mapping.get("new_task") else "strong-teacher"
        return super().from_mapping(mapping, preset or question)


class Distill(FineTuning[DistillSettings]):
    """Teach a network by another one while it is fine-tuned on few labels, and compare the methods.

    A strong teacher learns a source task; a student of another architecture, whose weights cannot be
    copied from it, learns from little; both by default all classes of half of the bundled digits.
    The student is then fine-tuned on five classes of the other half, with few labels. With
    --new-task the teacher knows other classes (0-4) than the target's (5-9), and a student of half
    the width starts from nothing, or is distilled on the teacher's task first.

    Source: Li et al.: Representation Transfer by Optimal Transport, section 4.3 and the third setting
    of its first version, in small.
    """

    name: ClassVar[str] = "distill"
    settings_type = DistillSettings
    teacher_stage = TEACHER

    def learnt(self) -> Mapping[str, Learnt]:
        """The teacher, and the student's own start unless that is random."""
        s = self.settings
        found = {TEACHER: Learnt(self.teacher_backbone, s.data_seed, path=s.teacher)}
        if not s.from_nothing:
            found[START] = Learnt(self.backbone, s.data_seed + 1, s.start_per_class)
        elif COMPRESSED in s.methods:
            found[COMPRESSED] = Learnt(self.backbone, s.data_seed + 1, taught_by=TEACHER)
        return found

    def facts(self) -> frozenset[str]:
        """Widths may agree; only a start that was learnt is one to stay near."""
        start = "compressed_start" if self.settings.from_nothing else "same_architecture"
        return super().facts() | {start} | ({"same_width"} if self.same_width else set())

    @property
    def teacher_backbone(self) -> Backbone:
        """The teacher's network."""
        s = self.settings
        return Backbone(s.teacher_backbone, s.teacher_channels, s.teacher_head)

    def backbones(self) -> Mapping[str, Backbone]:
        """Student and teacher."""
        return {**super().backbones(), "teacher_backbone": self.teacher_backbone}

    def start(self, place: Place, trial: Trial) -> nn.Module:
        """The student's own."""
        if not self.settings.from_nothing:
            return self.network(START, place)
        if trial.method == COMPRESSED:
            return self.network(COMPRESSED, place)
        return self.make(self.outputs, trial.seed)

    def report(self, results: Results) -> str:
        """Tell what was done."""
        s = self.settings
        start = "random weights"
        if not s.from_nothing:
            few = f"{s.start_per_class} examples of each of these classes"
            start = f"what it learnt from {few} ({self.origin(results, START)})"
        return f"""# Fine-tuning with another network as a teacher

{self.summary(results)}

## Protocol

A teacher, a {self.teacher_backbone.told()}, learns
{self.source_told()} ({self.origin(results, TEACHER)}). A student, a
{self.backbone.told()}, starts from {start}, with a new head, and is fine-tuned on the classes
{self.tasks.told("target")} of `{s.data}` with {s.labels_per_class} labels per class.
{self.protocol()}
"""


command = command_of(Distill)
