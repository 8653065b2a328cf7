"""What drivers share that fine-tune a network with each penalty."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field, ValidationInfo, field_validator, model_validator

from kantorch.drivers.comparison import Comparison
from kantorch.drivers.comparison_settings import RATE, ComparisonSettings, Names
from kantorch.drivers.penalties import METHODS, Pair
from kantorch.regularizers import KnowledgeDistillation
from kantorch.training.backbones import CONVNET, Backbone, with_new_head, with_outputs
from kantorch.training.batches import evaluation_loader
from kantorch.training.driver import Place
from kantorch.training.errors import ConfigError
from kantorch.training.files import system_path
from kantorch.training.layers import parse_layer, widths
from kantorch.training.model import HEAD, LAYERS
from kantorch.training.module import TARGET, UNLABELLED, PenalizedNetwork
from kantorch.training.records import Weights
from kantorch.training.settings import Count, NonNegative, Positive
from kantorch.training.trial import Stage, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import nn
    from typing_extensions import Self

    from kantorch.regularizers import KernelPrior, Layer
    from kantorch.regularizers._regularizer import Regularizer
    from kantorch.training._matplotlib import Figure
    from kantorch.training.methods import Methods
    from kantorch.training.results import Results
    from kantorch.training.tasks import Split

TRANSPORTS = {"identity", "uniform", "optimal"}


class FineTuningSettings(ComparisonSettings):
    """The penalties that are compared, and what they look at."""

    known: ClassVar[Methods] = METHODS

    methods: Names = ("none", "l2", "l2sp", "identity", "uniform", "optimal")
    """Which to compare; also kd, fitnet, bss, delta, delta_attention, and sums such as l2sp+bss."""
    layers: Names = ("pool",)
    """Layers that penalties on representations compare: block1, block2, block3, pool of "convnet";
    modules of other networks by name, NAME:input for what a module takes, NAME:DIMENSION where the
    neurons are not in dimension 1. Networks without `pool` are compared at their head's input."""
    teacher_layers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """The names of the same modules in the teacher, where they are others."""
    penalty_data: Literal["batch", "unlabelled"] = "batch"
    """What penalties look at: the labelled mini-batch, or one of all images of the target task
    outside of the test part, whose labels they do not need."""
    teacher: str | None = None
    """Weights of the first network, a file of a state_dict such as a run folder's
    trials/source/weights.pt, in place of learning them."""
    head_beta: NonNegative = 0.01
    """Strength of L2-SP and DELTA on the head."""
    temperature: Positive = 4.0
    """Of knowledge distillation."""
    temperature_squared: bool = False
    """Whether distillation is multiplied by the squared temperature, which its gradient has lost."""
    spatial: Literal["mean", "flatten"] = "mean"
    """What a neuron of a feature map is: its mean over positions, or its value at every one."""
    normalize: bool = False
    """Whether distances between neurons are divided by the root of the batch size."""
    solver: Literal["ipot", "exact"] = "ipot"
    """Of the optimal plan."""
    solver_max_iter: Count = 100
    """IPOT's proximal steps."""

    @field_validator("layers")
    @classmethod
    def _know_layers(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        of_convnet = {*LAYERS, f"{HEAD}:input"}
        known = info.data.get("backbone") != CONVNET or set(names) <= of_convnet
        if not known or len({name.partition(":")[0] for name in names}) < len(names):
            msg = f"must hold different names of {', '.join(LAYERS)}"
            raise ValueError(msg)
        return names

    @model_validator(mode="after")
    def _pair_layers(self) -> Self:
        if self.teacher_layers and len(self.teacher_layers) != len(self.layers):
            count = len(self.layers)
            msg = f"teacher_layers must be {count}, one for each layer, got {self.teacher_layers}"
            raise ValueError(msg)
        return self


S = TypeVar("S", bound=FineTuningSettings)


@dataclass(frozen=True)
class Learnt:
    """A network that has learnt the source task before.

    Attributes:
        backbone: What it is.
        seed: Draws its first weights and its batches.
        per_class: Examples of each class that it learns from. None: all.
        path: A file of its weights, which it then need not learn. None: there is none.
        taught_by: The stage of a network that it is distilled from. None: there is none.
    """

    backbone: Backbone
    seed: int
    per_class: int | None = None
    path: str | None = None
    taught_by: str | None = None


class FineTuning(Comparison[S]):
    """Fine-tunes on the target task; where networks come from is the driver's own."""

    pictures: ClassVar[tuple[str, ...]] = ("accuracy.png", "trace.png", "alphas.png")

    teacher_stage: ClassVar[str]

    def __init__(self, settings: S) -> None:
        super().__init__(settings)
        self._loaded: dict[str, nn.Module] = {}

    # Where networks come from.

    @abstractmethod
    def learnt(self) -> Mapping[str, Learnt]:
        """The networks that are there before fine-tuning, by stage, with `teacher_stage` among them."""

    @abstractmethod
    def start(self, place: Place, trial: Trial) -> nn.Module:
        """The network whose copy, with a new head, is fine-tuned."""

    def facts(self) -> frozenset[str]:
        """What is true of student and teacher, and methods may need."""
        tasks = self.tasks
        known = tasks.outputs is None and set(tasks.target_classes) <= set(tasks.source_classes)
        return frozenset({"same_labels"} if known else ())

    def check(self, world_size: int) -> None:
        """Refuse layers that a network has not, and weights that do not fit."""
        super().check(world_size)
        if not self.tasks.source_classes and self.settings.teacher is None:
            msg = "source_data 'none' needs a teacher: a file of the weights of a trained network"
            raise ConfigError(msg)
        self._widths  # noqa: B018 - it tells what is wrong
        for stage, learnt in self.learnt().items():
            if learnt.path is not None and system_path(learnt.path).is_file():
                self.network(stage, Place(Path()))

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Where representations are compared."""
        s = self.settings
        names = s.layers
        if names == ("pool",) and "pool" not in dict(self.make(2, 0).named_modules()):
            names = (f"{self.head}:input",)
        teachers: Sequence[str | None] = s.teacher_layers or [None] * len(names)
        return tuple(parse_layer(*pair) for pair in zip(names, teachers, strict=True))

    @property
    def layer_names(self) -> list[str]:
        """Their names."""
        return [layer.name for layer in self.layers]

    @cached_property
    def _widths(self) -> list[tuple[int, int]]:
        """How many neurons student and teacher have in these layers."""
        teacher = self.make(2, 0, self.learnt()[self.teacher_stage].backbone)
        found: list[tuple[int, int]] = widths(
            self.make(2, 0), teacher, self.layers, self.tasks.example()
        )
        return found

    @property
    def same_width(self) -> bool:
        """Whether student and teacher have as many neurons in every layer."""
        return all(mine == theirs for mine, theirs in self._widths)

    def inputs(self) -> Mapping[str, str]:
        """What a comparison reads, and a teacher that is handed in."""
        teacher = self.settings.teacher
        return {**super().inputs(), **({} if teacher is None else {"teacher": teacher})}

    def sources(self) -> Sequence[Stage]:
        """A stage for each network that is not handed in."""
        return [
            Stage(name, (Trial(name, seed=learnt.seed),))
            for name, learnt in self.learnt().items()
            if learnt.path is None
        ]

    def prepare(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Train one of these networks."""
        learnt = self.learnt()[trial.stage]
        network, split = self._like(learnt), self.tasks.source(learnt.per_class)
        if learnt.taught_by is None:
            return self.fit_source(network, trial, place, split)
        s, teacher = self.settings, self.network(learnt.taught_by, place)
        with KnowledgeDistillation(
            network, teacher, temperature=s.temperature, scaled=s.temperature_squared
        ) as penalty:
            return self.fit_source(network, trial, place, split, penalty)

    def network(self, stage: str, place: Place) -> nn.Module:
        """One of these networks, once it has learnt."""
        if stage not in self._loaded:
            learnt = self.learnt()[stage]
            found = Weights.given("teacher", learnt.path) if learnt.path else place.weights(stage)
            network = self._like(learnt, found)
            found.load_into(network)
            self._loaded[stage] = network
        return self._loaded[stage]

    def _like(self, learnt: Learnt, weights: Weights | None = None) -> nn.Module:
        outputs = self.source_outputs
        if not outputs and weights is not None:  # of a task whose data are not here
            head = learnt.backbone.head(self.make(2, 0, learnt.backbone))
            outputs = weights.outputs(head) or 2
        return self.make(outputs, learnt.seed, learnt.backbone)

    def teacher(self, place: Place) -> nn.Module:
        """The network that penalties hold to, with the target's outputs alone where it has them."""
        network = self.network(self.teacher_stage, place)
        if "same_labels" not in self.facts():
            return network
        tasks = self.tasks
        rows = [tasks.source_classes.index(label) for label in tasks.target_classes]
        head = self.learnt()[self.teacher_stage].backbone.head(network)
        return with_outputs(network, head, rows)

    def prior(self, place: Place) -> KernelPrior | None:
        """Kernels of source networks, if there are any."""
        return None

    # The comparison.

    def watched(self, student: nn.Module, place: Place) -> Callable[[], Mapping[str, float]] | None:
        """What tells further numbers of the student after each round."""
        return None

    def untrained(self, trial: Trial) -> nn.Module:
        """The student."""
        return self.make(self.outputs, 0)

    def train(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Fine-tune."""
        s = self.settings
        start = self.start(place, trial)
        inputs = self.tasks.in_channels
        student = with_new_head(self.backbone, start, inputs, self.outputs, trial.seed)
        split = self.tasks.target(trial.seed)
        torch.manual_seed(trial.seed)  # a penalty may draw weights of its own
        regularizer = self._penalty(trial, student, start, split, place)
        module = PenalizedNetwork(
            student,
            objective=self.objective,
            outputs=self.outputs,
            schedule=s.schedule(dict(trial.params)[RATE]),
            seed=trial.seed,
            shift=s.shift,
            augment=s.augment,
            name=trial.name,
            regularizer=regularizer,
            reference=start,
            layers=[replace(layer, teacher=None) for layer in self.layers],
            watched=self.watched(student, place),
        )
        plain = regularizer is None or s.penalty_data == "batch"
        both = {TARGET: split.train, UNLABELLED: self.tasks.pool()}
        train = split.train if plain else both
        try:
            return self.fit(module, trial, place, train, split.validation, s.batch_size)
        finally:
            if regularizer is not None:
                regularizer.close()

    def _penalty(
        self, trial: Trial, student: nn.Module, start: nn.Module, split: Split, place: Place
    ) -> Regularizer | None:
        s, teacher = self.settings, self.teacher(place)
        pair = Pair(
            student,
            teacher,
            start,
            layers=self.layers,
            head=(self.head,),
            teacher_head=self.learnt()[self.teacher_stage].backbone.head(teacher),
            head_beta=s.head_beta,
            example=split.train[[0]][0],
            labelled=evaluation_loader(split.train),
            loss=self.objective.loss,
            outputs=self.outputs,
            temperature=s.temperature,
            temperature_squared=s.temperature_squared,
            spatial=s.spatial,
            normalize=s.normalize,
            solver=s.solver,
            solver_max_iter=s.solver_max_iter,
            prior=self.prior(place),
        )
        params = {name: value for name, value in trial.params if name != RATE}
        return METHODS[trial.method].build(pair, **params)

    def faults(self, trial: Trial, record: Mapping[str, Any]) -> Iterable[str]:
        """Check history and traces."""
        if trial.stage != TARGET:
            return super().faults(trial, record)
        kinds, layers = set(trial.method.split("+")), self.layer_names
        terms = ["penalty"] if kinds - {"none", "compressed"} else []
        terms += [f"validation_trace_{layer}" for layer in layers]
        return self.expected(trial, terms, layers if kinds & TRANSPORTS else ()).faults(record)

    def draw(self, results: Results) -> Mapping[str, Figure]:
        """The comparison, the traces and the choice."""
        from kantorch.training.figures import draw_traces

        pictures = dict(super().draw(results))
        if pictures:
            pictures["trace.png"] = draw_traces(results, self.layer_names)
        return pictures

    def table(self, results: Results) -> str:
        """The comparison as a Markdown table, with the final trace of the last layer."""
        key = f"validation_trace_{self.layer_names[-1]}"
        traces = {
            method: f"{statistics.fmean(r['history'][-1][key] for r in results.chosen_records(method)):.3f}"
            for method in results.chosen
        }
        return results.table(trace=traces)

    def summary(self, results: Results) -> str:
        """The table, what it means, and the pictures."""
        return f"""{self.table(results)}

Mean ± sample standard deviation over {len(results.seeds)} seeds; *minus none* is paired by seed, with
Student's interval of 95 %. A star marks a chosen value on the edge of its grid: better ones may lie
beyond. *trace*: of the exact plan between the neurons of `{self.layer_names[-1]}` before and after
fine-tuning, on the validation examples; 1 if every neuron is nearest to itself.{self.absent(results)}

![Test per method](accuracy.png)
![Trace of the transport plan during fine-tuning](trace.png)
![Validation against the strength](alphas.png)"""

    def source_told(self) -> str:
        """The source task, in words."""
        s = self.settings
        if not self.tasks.source_classes:
            return "another task"
        return f"the classes {self.tasks.told('source')} of `{s.source_data or s.data}`"

    def origin(self, results: Results, stage: str) -> str:
        """Where a network comes from, in words."""
        found = [self.score(r) for trial, r in results.records.items() if trial.stage == stage]
        if not found:
            return f"read from {self.learnt()[stage].path}"
        return f"validation {100 * found[0]:.2f} %"

    def protocol(self) -> str:
        """What all trials of the comparison have in common, in words."""
        s = self.settings
        unlabelled = "a mini-batch of all images of the target task outside of the test part"
        looked_at = "same augmented mini-batch" if s.penalty_data == "batch" else unlabelled
        return f"""Each fine-tuning takes {s.steps}
mini-batches of {s.batch_size}, {self.optimizer()}. The
penalties compare the layer(s) {", ".join(self.layer_names)} with the teacher's on the {looked_at};
optimal plans by {s.solver}.

Each seed draws the labelled examples, the head and the batches, the same for every method. A method's
parameters are those of its grid with the best mean validation over the seeds; the weights are those
after the last step. The test part was set apart once, took part in no choice, and was measured once, for
the chosen parameters, after every training had ended.

{self.sizes()}"""
