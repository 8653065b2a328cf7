"""What drivers share that fine-tune a network with each penalty."""

from __future__ import annotations

import statistics
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import torch
from pydantic import field_validator

from kantorch.drivers.comparison import RATE, TARGET, Comparison, ComparisonSettings, Names
from kantorch.drivers.penalties import METHODS, Pair
from kantorch.training.figures import draw_traces
from kantorch.training.model import HEAD, LAYERS, ConvNet, make_network, with_new_head
from kantorch.training.module import PenalizedNetwork, Schedule
from kantorch.training.settings import Count, NonNegative, Positive

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kantorch.regularizers._regularizer import Regularizer
    from kantorch.training._matplotlib import Figure
    from kantorch.training.driver import Place
    from kantorch.training.methods import Methods
    from kantorch.training.results import Results
    from kantorch.training.tasks import Split
    from kantorch.training.trial import Trial

TRANSPORTS = {"identity", "uniform", "optimal"}


class FineTuningSettings(ComparisonSettings):
    """The penalties that are compared, and what they look at."""

    known: ClassVar[Methods] = METHODS

    methods: Names = ("none", "l2", "l2sp", "identity", "uniform", "optimal")
    """Which to compare; also kd, fitnet, bss, delta, and sums such as l2sp+bss."""
    layers: Names = ("pool",)
    """Layers that penalties on representations compare: block1, block2, block3, pool."""
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

    @field_validator("layers")
    @classmethod
    def _know_layers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not set(names) <= set(LAYERS) or len(set(names)) < len(names):
            msg = f"must hold different names of {', '.join(LAYERS)}"
            raise ValueError(msg)
        return names


S = TypeVar("S", bound=FineTuningSettings)


class FineTuning(Comparison[S]):
    """Fine-tunes on the target task; where networks come from is the driver's own."""

    pictures: ClassVar[tuple[str, ...]] = ("accuracy.png", "trace.png", "alphas.png")

    @abstractmethod
    def teacher(self, place: Place) -> ConvNet:
        """The network that penalties hold the student to."""

    @abstractmethod
    def start(self, place: Place) -> ConvNet:
        """The network whose copy, with a new head, is fine-tuned."""

    @property
    def student_channels(self) -> Sequence[int]:
        """Widths of the network that is fine-tuned."""
        return self.settings.channels

    def untrained(self, trial: Trial) -> ConvNet:
        """The student."""
        return make_network(self.tasks.in_channels, self.student_channels, self.outputs, 0)

    def train(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Fine-tune."""
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
            return self.fit(module, trial, place, split.train, split.validation, s.batch_size)
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

    def faults(self, trial: Trial, record: Mapping[str, Any]) -> Iterable[str]:
        """Check history and traces."""
        if trial.stage != TARGET:
            return super().faults(trial, record)
        kinds, layers = set(trial.method.split("+")), self.settings.layers
        terms = ["penalty"] if kinds != {"none"} else []
        terms += [f"validation_trace_{layer}" for layer in layers]
        return self.expected(trial, terms, layers if kinds & TRANSPORTS else ()).faults(record)

    def draw(self, results: Results) -> Mapping[str, Figure]:
        """The comparison, the traces and the choice."""
        return {**super().draw(results), "trace.png": draw_traces(results, self.settings.layers)}

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
        return f"""{self.table(results)}

Mean ± sample standard deviation over {len(results.seeds)} seeds; *minus none* is paired by seed, with
Student's interval of 95 %. A star marks a chosen value on the edge of its grid: better ones may lie
beyond. *trace*: of the exact plan between the neurons of `{self.settings.layers[-1]}` before and after
fine-tuning, on the validation examples; 1 if every neuron is nearest to itself.{self.absent(results)}

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
