"""What drivers share that fine-tune a network on few labels, with each penalty, from each seed."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import torch
from pydantic import Field, ValidationInfo, field_validator, model_validator

from kantorch.drivers.penalties import METHODS, Pair
from kantorch.training.driver import Driver, Place
from kantorch.training.errors import ConfigError
from kantorch.training.figures import draw_choice, draw_tests, draw_traces
from kantorch.training.fit import fit, test
from kantorch.training.history import Expected
from kantorch.training.model import HEAD, LAYERS, ConvNet, make_network, with_new_head
from kantorch.training.module import PenalizedNetwork, Schedule
from kantorch.training.objective import OBJECTIVES
from kantorch.training.records import Weights
from kantorch.training.settings import Count, Index, NonNegative, Positive
from kantorch.training.tasks import Tasks, TaskSettings
from kantorch.training.trial import Stage, Trial, grid_trials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from typing_extensions import Self

    from kantorch.regularizers._regularizer import Regularizer
    from kantorch.training._matplotlib import Figure
    from kantorch.training.results import Results
    from kantorch.training.tasks import Split

TARGET = "target"
RATE = "lr"
TRANSPORTS = {"identity", "uniform", "optimal"}

Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Widths = Annotated[tuple[Count, ...], Field(strict=False, min_length=3, max_length=3)]
Rates = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)]
Grid = dict[str, Rates]


class FineTuningSettings(TaskSettings):
    """The tasks, the networks, their training, and what is compared."""

    channels: Widths = (16, 32, 64)
    """Widths of the three convolutions; the last is the penultimate layer's."""
    layers: Names = ("pool",)
    """Layers that penalties on representations compare: block1, block2, block3, pool."""
    pretrain_steps: Count = 500
    """Mini-batches on the source task."""
    pretrain_batch_size: Count = 64
    """Examples per mini-batch there."""
    pretrain_learning_rate: Positive = 0.05
    """Learning rate there; a tenth of it after two thirds of the steps."""
    steps: Count = 100
    """Mini-batches of one fine-tuning."""
    batch_size: Count = 32
    """Examples per mini-batch."""
    learning_rates: Rates = (0.05,)
    """Learning rates to choose from, in the grid of every method that has no `lr` of its own; each
    falls to a tenth after two thirds of the steps."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of stochastic gradient descent."""
    shift: Annotated[int, Field(ge=0)] = 1
    """Augmentation: images move by up to this many pixels each way."""
    rounds: Count = 5
    """Each training is cut into so many parts; after each it is validated and saved."""
    methods: Names = ("none", "l2", "l2sp", "identity", "uniform", "optimal")
    """Which to compare; also kd, fitnet, bss, delta, and sums such as l2sp+bss."""
    grids: Annotated[dict[str, Grid], Field(default_factory=dict)]
    """Values to choose from, per method and parameter, where they are not the default."""
    head_beta: NonNegative = 0.01
    """Strength of L2-SP and DELTA on the head."""
    temperature: Positive = 4.0
    """Of knowledge distillation."""
    normalize: bool = False
    """Whether distances between neurons are divided by the root of the batch size."""
    solver: Literal["ipot", "exact"] = "ipot"
    """Of the optimal plan."""
    solver_max_iter: Count = 100
    """IPOT's proximal steps."""
    seeds: Count = 5
    """Fine-tunings per method and point of its grid: they draw labelled examples, the new head and
    the batches."""
    first_seed: Index = 0
    """The lowest of the seeds, which follow each other."""

    @field_validator("layers")
    @classmethod
    def _know_layers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not set(names) <= set(LAYERS) or len(set(names)) < len(names):
            msg = f"must hold different names of {', '.join(LAYERS)}"
            raise ValueError(msg)
        return names

    @field_validator("methods")
    @classmethod
    def _know_methods(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            METHODS[name]
        if not names or len(set(names)) < len(names):
            msg = "must hold different methods"
            raise ValueError(msg)
        return names

    @field_validator("grids")
    @classmethod
    def _fill_grids(cls, given: dict[str, Grid], info: ValidationInfo) -> dict[str, Grid]:
        """Write out what each method in use is tuned by."""
        for name in given:
            METHODS[name]
        filled = {}
        for name in info.data.get("methods", ()):
            known, own = METHODS[name].grid, given.get(name, {})
            for parameter, values in own.items():
                if parameter not in {*known, RATE}:
                    msg = f"must hold parameters of {name} ({', '.join([*known, RATE])})"
                    raise ValueError(msg)
                if len(set(values)) < len(values):
                    msg = f"must hold different values for {name}.{parameter}"
                    raise ValueError(msg)
            filled[name] = {k: tuple(map(float, v)) for k, v in {**known, **own}.items()}
        return filled

    def grid(self, method: str) -> Grid:
        """All values of a method's parameters, the learning rate among them."""
        return {RATE: self.learning_rates} | self.grids[method]

    @model_validator(mode="after")
    def _whole_rounds(self) -> Self:
        for name in ("steps", "pretrain_steps"):
            if getattr(self, name) % self.rounds:
                msg = (
                    f"{name} must be a multiple of rounds ({self.rounds}), got "
                    f"{getattr(self, name)}"
                )
                raise ValueError(msg)
        return self


S = TypeVar("S", bound=FineTuningSettings)


class FineTuning(Driver[S]):
    """Fine-tunes on the target task; where networks come from is the driver's own."""

    pictures: ClassVar[tuple[str, ...]] = ("accuracy.png", "trace.png", "alphas.png")

    def __init__(self, settings: S) -> None:
        super().__init__(settings)
        self.objective = OBJECTIVES[settings.loss]
        self.least = self.objective.least

    @cached_property
    def tasks(self) -> Tasks:
        """The examples."""
        return Tasks(self.settings)

    def check(self, world_size: int) -> None:
        """Refuse batches that processes cannot share evenly, and data that are not there."""
        for name in ("batch_size", "pretrain_batch_size"):
            # The processes' gradients are averaged with equal weights.
            if getattr(self.settings, name) % world_size:
                msg = (
                    f"{name} must be a multiple of the number of processes ({world_size}), "
                    f"got {getattr(self.settings, name)}"
                )
                raise ConfigError(msg)

    def inputs(self) -> Mapping[str, str]:
        """The data."""
        return self.settings.files()

    # Where networks come from.

    @abstractmethod
    def sources(self) -> Sequence[Stage]:
        """The stages before fine-tuning."""

    @abstractmethod
    def facts(self) -> frozenset[str]:
        """What is true of student and teacher, and methods may need."""

    @abstractmethod
    def teacher(self, place: Place) -> ConvNet:
        """The network that penalties hold the student to."""

    @abstractmethod
    def start(self, place: Place) -> ConvNet:
        """The network whose copy, with a new head, is fine-tuned."""

    @abstractmethod
    def pretrain(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Do the trial of one of the sources."""

    # What a study asks.

    def stages(self) -> Sequence[Stage]:
        """The sources, then every method that applies."""
        s = self.settings
        grids = {m: s.grid(m) for m in s.methods if METHODS[m].needs <= self.facts()}
        if not grids:
            msg = f"methods must hold one that applies to this comparison, got {s.methods}"
            raise ConfigError(msg)
        seeds = range(s.first_seed, s.first_seed + s.seeds)
        target = Stage(TARGET, grid_trials(TARGET, grids, seeds), compared=True)
        return [*self.sources(), target]

    def titles(self) -> Mapping[str, str]:
        """Name every method."""
        return {name: METHODS[name].title for name in self.settings.methods}

    def steps(self, trial: Trial) -> int:
        """Mini-batches."""
        return self.settings.steps if trial.stage == TARGET else self.settings.pretrain_steps

    def run(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Train."""
        if trial.stage != TARGET:
            return self.pretrain(trial, place)
        s = self.settings
        params = dict(trial.params)
        student = with_new_head(self.start(place), self.outputs, trial.seed)
        split = self.tasks.target(trial.seed)
        torch.manual_seed(trial.seed)  # a penalty may draw weights of its own
        regularizer = self._penalty(trial, student, split, place)
        module = PenalizedNetwork(
            student,
            objective=self.objective,
            outputs=self.outputs,
            schedule=Schedule(s.steps, params[RATE], s.momentum),
            seed=trial.seed,
            shift=s.shift,
            name=trial.name,
            regularizer=regularizer,
            reference=self.start(place),
            layers=s.layers,
        )
        try:
            return self.fit(module, trial, place, split, s.batch_size)
        finally:
            if regularizer is not None:
                regularizer.close()

    def _penalty(
        self, trial: Trial, student: ConvNet, split: Split, place: Place
    ) -> Regularizer | None:
        s = self.settings
        pair = Pair(
            student,
            self.teacher(place),
            self.start(place),
            layers=s.layers,
            head=(HEAD,),
            head_beta=s.head_beta,
            example=split.train[0][0][None],
            temperature=s.temperature,
            normalize=s.normalize,
            solver=s.solver,
            solver_max_iter=s.solver_max_iter,
        )
        params = {name: value for name, value in trial.params if name != RATE}
        return METHODS[trial.method].build(pair, **params)

    def fit(
        self, module: PenalizedNetwork, trial: Trial, place: Place, split: Split, batch_size: int
    ) -> dict[str, Any]:
        """Train a network and leave its weights."""
        return fit(
            module,
            trial,
            place,
            split.train,
            split.validation,
            batch_size=batch_size,
            rounds=self.settings.rounds,
            accelerator=self.settings.accelerator,
        )

    def fit_source(
        self, network: ConvNet, trial: Trial, place: Place, split: Split
    ) -> dict[str, Any]:
        """Train a network on the source task."""
        s = self.settings
        schedule = Schedule(s.pretrain_steps, s.pretrain_learning_rate, s.momentum)
        module = PenalizedNetwork(
            network,
            objective=self.objective,
            outputs=self.source_outputs,
            schedule=schedule,
            seed=trial.seed,
            shift=s.shift,
            name=trial.name,
        )
        return self.fit(module, trial, place, split, s.pretrain_batch_size)

    @property
    def outputs(self) -> int:
        """Of a network for the target task."""
        return self.tasks.outputs or len(self.settings.target_classes)

    @property
    def source_outputs(self) -> int:
        """Of a network for the source task."""
        return self.tasks.outputs or len(self.settings.source_classes)

    def faults(self, trial: Trial, record: Mapping[str, Any]) -> Iterable[str]:
        """Check history and traces."""
        s = self.settings
        target = trial.stage == TARGET
        terms = [self.objective.name]
        kinds: set[str] = set()
        if target:
            kinds = set(trial.method.split("+"))
            terms += ["penalty"] if kinds != {"none"} else []
            terms += [f"validation_trace_{layer}" for layer in s.layers]
        expected = Expected(
            self.steps(trial),
            s.rounds,
            f"validation_{self.objective.measure}",
            self.least,
            tuple(terms),
            s.layers if kinds & TRANSPORTS else (),
        )
        return expected.faults(record)

    def score(self, record: Mapping[str, Any]) -> float:
        """The validation after the last round."""
        return float(record["history"][-1][f"validation_{self.objective.measure}"])

    def test(self, trial: Trial, place: Place) -> float:
        """Measure the weights that a training left."""
        network = make_network(self.tasks.in_channels, self.student_channels, self.outputs, 0)
        Weights.of(place.of(trial)).load_into(network)
        module = PenalizedNetwork(
            network,
            objective=self.objective,
            outputs=self.outputs,
            schedule=Schedule(1, 1.0, 0.0),
            seed=0,
            shift=0,
            name=trial.name,
        )
        examples, accelerator = self.tasks.test(), self.settings.accelerator
        return test(module, trial.name, place.folder, examples, accelerator)

    @property
    def student_channels(self) -> Sequence[int]:
        """Widths of the network that is fine-tuned."""
        return self.settings.channels

    def draw(self, results: Results) -> Mapping[str, Figure]:
        """The comparison, the traces and the choice."""
        measure = self.objective.measure
        return {
            "accuracy.png": draw_tests(results, measure),
            "trace.png": draw_traces(results, self.settings.layers),
            "alphas.png": draw_choice(results, measure),
        }

    def table(self, results: Results) -> str:
        """The comparison as a Markdown table, with the final trace of the last layer."""
        key = f"validation_trace_{self.settings.layers[-1]}"
        traces = {
            method: f"{statistics.fmean(r['history'][-1][key] for r in results.chosen_records(method)):.3f}"
            for method in results.chosen
        }
        return results.table(trace=traces)

    def summary(self, results: Results) -> str:
        """The table, what it means, and the pictures."""
        unmet = {
            METHODS[name].title: ", ".join(sorted(METHODS[name].needs - self.facts()))
            for name in self.settings.methods
            if name not in results.chosen
        }
        absent = "".join(
            f" {title} needs {what.replace('_', ' ')}." for title, what in unmet.items()
        )
        return f"""{self.table(results)}

Mean ± sample standard deviation over {len(results.seeds)} seeds; *minus none* is paired by seed, with
Student's interval of 95 %. A star marks a chosen value on the edge of its grid: better ones may lie
beyond. *trace*: of the exact plan between the neurons of `{self.settings.layers[-1]}` before and after
fine-tuning, on the validation examples; 1 if every neuron is nearest to itself.{absent}

![Test per method](accuracy.png)
![Trace of the transport plan during fine-tuning](trace.png)
![Validation against the strength](alphas.png)"""

    def protocol(self) -> str:
        """What all trials of the comparison have in common, in words."""
        s = self.settings
        return f"""Each fine-tuning takes {s.steps}
mini-batches of {s.batch_size}, by stochastic gradient descent with momentum {s.momentum}, whose rate
falls to a tenth after two thirds of the steps, on images shifted by up to {s.shift} pixel(s). The
penalties compare the layer(s) {", ".join(s.layers)} with the teacher's on the same augmented
mini-batch; optimal plans by {s.solver}.

Each seed draws the labelled examples, the head and the batches, the same for every method. A method's
parameters are those of its grid with the best mean validation over the seeds; the weights are those
after the last step. The test part was drawn once, took part in no choice, and was measured once, for
the chosen parameters, after every training had ended."""
