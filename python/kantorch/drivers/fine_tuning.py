"""What drivers share that fine-tune a network on few labels, with each penalty, from each seed."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import torch

from kantorch.drivers.penalties import METHODS, Pair
from kantorch.drivers.settings import RATE, FineTuningSettings
from kantorch.training.driver import Driver, Place
from kantorch.training.errors import ConfigError
from kantorch.training.fit import fit, test
from kantorch.training.history import Expected
from kantorch.training.model import (
    HEAD,
    ConvNet,
    make_network,
    with_classes,
    with_new_head,
)
from kantorch.training.module import PenalizedNetwork, Schedule
from kantorch.training.objective import OBJECTIVES
from kantorch.training.records import Weights
from kantorch.training.tasks import Tasks
from kantorch.training.trial import Stage, Trial, grid_trials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kantorch.regularizers._regularizer import Regularizer
    from kantorch.training._matplotlib import Figure
    from kantorch.training.results import Results
    from kantorch.training.tasks import Split

TARGET = "target"
TRANSPORTS = {"identity", "uniform", "optimal"}

S = TypeVar("S", bound=FineTuningSettings)


@dataclass(frozen=True)
class Learnt:
    """A network that has learnt the source task before.

    Attributes:
        channels: Widths of its convolutions.
        seed: Draws its first weights and its batches.
        per_class: Examples of each class that it learns from. None: all.
        path: A file of its weights, which it then need not learn. None: there is none.
    """

    channels: Sequence[int]
    seed: int
    per_class: int | None = None
    path: str | None = None


class FineTuning(Driver[S]):
    """Fine-tunes on the target task; where networks come from is the driver's own."""

    pictures: ClassVar[tuple[str, ...]] = ("accuracy.png", "trace.png", "alphas.png")
    teacher_stage: ClassVar[str]

    def __init__(self, settings: S) -> None:
        super().__init__(settings)
        self.objective = OBJECTIVES[settings.loss]
        self.least = self.objective.least
        self._loaded: dict[str, ConvNet] = {}

    @cached_property
    def tasks(self) -> Tasks:
        """The examples."""
        return Tasks(self.settings)

    def check(self, world_size: int) -> None:
        """Refuse batches that processes cannot share evenly, and data that cannot be cut so."""
        for name in ("batch_size", "pretrain_batch_size"):
            # The processes' gradients are averaged with equal weights.
            if getattr(self.settings, name) % world_size:
                msg = (
                    f"{name} must be a multiple of the number of processes ({world_size}), "
                    f"got {getattr(self.settings, name)}"
                )
                raise ConfigError(msg)
        _ = self.tasks  # before any file is written

    def inputs(self) -> Mapping[str, str]:
        """The data, and networks that are handed in."""
        teacher = self.settings.teacher
        return self.settings.files() | ({} if teacher is None else {"teacher": teacher})

    # Where networks come from.

    @abstractmethod
    def learnt(self) -> Mapping[str, Learnt]:
        """The networks that are there before fine-tuning, by stage; that of `teacher_stage` first."""

    @abstractmethod
    def start(self, place: Place, seed: int) -> ConvNet:
        """The network whose copy, with a new head, is fine-tuned."""

    def facts(self) -> set[str]:
        """What is true of student and teacher, and methods may need."""
        s = self.settings
        known = s.loss == "cross_entropy" and set(s.target_classes) <= set(s.source_classes)
        return {"same_labels"} if known else set()

    def network(self, stage: str, place: Place) -> ConvNet:
        """One of the networks that are there before."""
        if stage not in self._loaded:
            learnt = self.learnt()[stage]
            found = Weights.given("teacher", learnt.path) if learnt.path else place.weights(stage)
            network = self._untrained(learnt)
            found.load_into(network)
            self._loaded[stage] = network
        return self._loaded[stage]

    def _untrained(self, learnt: Learnt) -> ConvNet:
        inputs, outputs = self.tasks.in_channels, self._outputs(self.settings.source_classes)
        return make_network(inputs, learnt.channels, outputs, learnt.seed)

    def teacher(self, place: Place) -> ConvNet:
        """The network that penalties hold to, with the target's outputs alone where it has them."""
        s, network = self.settings, self.network(self.teacher_stage, place)
        if "same_labels" not in self.facts():
            return network
        return with_classes(network, [s.source_classes.index(c) for c in s.target_classes])

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
        before = [
            Stage(stage, (Trial(stage, seed=learnt.seed),))
            for stage, learnt in self.learnt().items()
            if learnt.path is None
        ]
        return [*before, target]

    def titles(self) -> Mapping[str, str]:
        """Name every method."""
        return {name: METHODS[name].title for name in self.settings.methods}

    def steps(self, trial: Trial) -> int:
        """Mini-batches."""
        return self.settings.steps if trial.stage == TARGET else self.settings.pretrain_steps

    def run(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Train."""
        return self._fine_tune(trial, place) if trial.stage == TARGET else self._learn(trial, place)

    def _learn(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Train a network on the source task."""
        s, learnt = self.settings, self.learnt()[trial.stage]
        module = PenalizedNetwork(
            self._untrained(learnt),
            objective=self.objective,
            outputs=self._outputs(s.source_classes),
            schedule=Schedule(s.pretrain_steps, s.pretrain_learning_rate, s.momentum),
            seed=trial.seed,
            shift=s.shift,
            name=trial.name,
        )
        split = self.tasks.source(learnt.per_class)
        return self._fit(module, trial, place, split, s.pretrain_batch_size)

    def _fine_tune(self, trial: Trial, place: Place) -> dict[str, Any]:
        s, outputs = self.settings, self._outputs(self.settings.target_classes)
        start = self.start(place, trial.seed)
        student = with_new_head(start, outputs, trial.seed)
        split = self.tasks.target(trial.seed)
        torch.manual_seed(trial.seed)  # a penalty may draw weights of its own
        regularizer = self._penalty(trial, student, start, split, place)
        module = PenalizedNetwork(
            student,
            objective=self.objective,
            outputs=outputs,
            schedule=Schedule(s.steps, dict(trial.params)[RATE], s.momentum),
            seed=trial.seed,
            shift=s.shift,
            name=trial.name,
            regularizer=regularizer,
            reference=start,
            layers=s.layers,
        )
        try:
            return self._fit(module, trial, place, split, s.batch_size)
        finally:
            if regularizer is not None:
                regularizer.close()

    def _penalty(
        self, trial: Trial, student: ConvNet, start: ConvNet, split: Split, place: Place
    ) -> Regularizer | None:
        s = self.settings
        pair = Pair(
            student,
            self.teacher(place),
            start,
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

    def _fit(
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

    def _outputs(self, classes: Sequence[int]) -> int:
        """Of a network for these classes."""
        return self.tasks.outputs or len(classes)

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
        outputs = self._outputs(self.settings.target_classes)
        network = make_network(self.tasks.in_channels, self.settings.channels, outputs, 0)
        place.weights(trial.name).load_into(network)
        module = PenalizedNetwork(
            network,
            objective=self.objective,
            outputs=outputs,
            schedule=Schedule(1, 1.0, 0.0),
            seed=0,
            shift=0,
            name=trial.name,
        )
        examples, accelerator = self.tasks.test(), self.settings.accelerator
        return test(module, trial.name, place.folder, examples, accelerator)

    def draw(self, results: Results) -> Mapping[str, Figure]:
        """The comparison, the traces and the choice."""
        # Imported now: the libraries that draw take longer to load than a damaged folder to name.
        from kantorch.training.figures import draw_choice, draw_tests, draw_traces

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

    def origin(self, results: Results, stage: str) -> str:
        """Where a network comes from, in words."""
        found = [self.score(r) for trial, r in results.records.items() if trial.stage == stage]
        if not found:
            return f"read from {self.learnt()[stage].path}"
        return f"validation {100 * found[0]:.2f} %"

    def protocol(self) -> str:
        """What all trials of the comparison have in common, in words."""
        s = self.settings
        sizes = "\n".join(f"- {name}: {n} examples" for name, n in self.tasks.sizes().items())
        return f"""Each fine-tuning takes {s.steps}
mini-batches of {s.batch_size}, by stochastic gradient descent with momentum {s.momentum}, whose rate
falls to a tenth after two thirds of the steps, on images shifted by up to {s.shift} pixel(s). The
penalties compare the layer(s) {", ".join(s.layers)} with the teacher's on the same augmented
mini-batch; optimal plans by {s.solver}.

Each seed draws the labelled examples, the head and the batches, the same for every method. A method's
parameters are those of its grid with the best mean validation over the seeds; the weights are those
after the last step. The test part was drawn once, took part in no choice, and was measured once, for
the chosen parameters, after every training had ended.

{sizes}"""
