"""What drivers share that train a network on few labels by each of several methods, from each seed."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from kantorch.drivers.comparison_settings import ComparisonSettings
from kantorch.training.augment import Augmentation
from kantorch.training.backbones import Backbone
from kantorch.training.driver import Driver, Place
from kantorch.training.errors import ConfigError
from kantorch.training.fit import fit, test
from kantorch.training.history import Expected
from kantorch.training.module import TARGET, PenalizedNetwork, Schedule
from kantorch.training.objective import OBJECTIVES
from kantorch.training.tasks import Tasks
from kantorch.training.trial import Stage, Trial, grid_trials
from kantorch.training.views import LazyImages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import nn

    from kantorch.training._matplotlib import Figure
    from kantorch.training.batches import Examples as Part
    from kantorch.training.results import Results
    from kantorch.training.tasks import Split

S = TypeVar("S", bound=ComparisonSettings)


class Comparison(Driver[S]):
    """Trains on the target task by each method; how is the driver's own."""

    pictures: ClassVar[tuple[str, ...]] = ("accuracy.png", "alphas.png")

    def __init__(self, settings: S) -> None:
        super().__init__(settings)
        self.objective = OBJECTIVES[settings.loss]
        self.least = self.objective.least

    @property
    def backbone(self) -> Backbone:
        """The network that is trained."""
        s = self.settings
        return Backbone(s.backbone, s.channels, s.head)

    def backbones(self) -> Mapping[str, Backbone]:
        """All kinds of networks, by setting."""
        return {"backbone": self.backbone}

    def make(self, outputs: int, seed: int, backbone: Backbone | None = None) -> nn.Module:
        """Make a network for these images, with weights drawn from the seed."""
        return (backbone or self.backbone).make(self.tasks.in_channels, outputs, seed)

    @cached_property
    def head(self) -> str:
        """The name of the network's head."""
        return self.backbone.head(self.make(2, 0))

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
        for backbone in self.backbones().values():
            backbone.check(self.tasks.in_channels)
        Augmentation(0, self.settings.augment)

    def inputs(self) -> Mapping[str, str]:
        """The data, and networks of one's own."""
        files = {name: kind.file() for name, kind in self.backbones().items()}
        return self.settings.files() | {k: v for k, v in files.items() if v is not None}

    # What is a driver's own.

    @abstractmethod
    def sources(self) -> Sequence[Stage]:
        """The stages before the comparison."""

    @abstractmethod
    def facts(self) -> frozenset[str]:
        """What is true of this comparison, and methods may need."""

    @abstractmethod
    def prepare(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Do the trial of one of the sources."""

    @abstractmethod
    def train(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Do a trial of the comparison."""

    @abstractmethod
    def untrained(self, trial: Trial) -> nn.Module:
        """The network that a trial of the comparison trains, with any weights."""

    # What a study asks.

    def stages(self) -> Sequence[Stage]:
        """The sources, then every method that applies."""
        s = self.settings
        grids = {m: s.grid(m) for m in s.methods if s.known[m].needs <= self.facts()}
        if not grids:
            msg = f"methods must hold one that applies to this comparison, got {s.methods}"
            raise ConfigError(msg)
        target = Stage(TARGET, grid_trials(TARGET, grids, self.seeds), compared=True)
        return [*self.sources(), target]

    @property
    def seeds(self) -> range:
        """Those of every method."""
        s = self.settings
        return range(s.first_seed, s.first_seed + s.seeds)

    def titles(self) -> Mapping[str, str]:
        """Name every method."""
        return {name: self.settings.known[name].title for name in self.settings.methods}

    def steps(self, trial: Trial) -> int:
        """Mini-batches."""
        return self.settings.steps if trial.stage == TARGET else self.settings.pretrain_steps

    def run(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Train."""
        return (self.train if trial.stage == TARGET else self.prepare)(trial, place)

    def fit(
        self,
        module: PenalizedNetwork,
        trial: Trial,
        place: Place,
        train: Part | Mapping[str, Part],
        validation: Part,
        batch_size: int,
    ) -> dict[str, Any]:
        """Train a network and leave its weights; see `kantorch.training.fit.fit`."""
        s = self.settings
        options: dict[str, Any] = {
            "rounds": s.rounds,
            "accelerator": s.accelerator,
            "loaders": s.loaders,
        }
        return fit(module, trial, place, train, validation, batch_size=batch_size, **options)

    def fit_source(
        self,
        network: nn.Module,
        trial: Trial,
        place: Place,
        split: Split,
        regularizer: nn.Module | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> dict[str, Any]:
        """Train a network on the source task."""
        s = self.settings
        rate, falls = s.pretrain_learning_rate, s.pretrain_rate_falls or None
        schedule = Schedule(s.pretrain_steps, rate, s.momentum, s.weight_decay, falls)
        module = PenalizedNetwork(
            network,
            objective=self.objective,
            outputs=self.source_outputs,
            schedule=schedule,
            seed=trial.seed,
            shift=s.shift,
            augment=s.augment,
            name=trial.name,
            regularizer=regularizer,
            rates=rates,
        )
        batch = s.pretrain_batch_size
        return self.fit(module, trial, place, split.train, split.validation, batch)

    @property
    def outputs(self) -> int:
        """Of a network for the target task."""
        return self.tasks.outputs or len(self.tasks.target_classes)

    @property
    def source_outputs(self) -> int:
        """Of a network for the source task."""
        return self.tasks.outputs or len(self.tasks.source_classes)

    def expected(
        self, trial: Trial, terms: Sequence[str] = (), layers: Sequence[str] = ()
    ) -> Expected:
        """The form of a training's record, with further numbers of each round, and traces."""
        return Expected(
            self.steps(trial),
            self.settings.rounds,
            f"validation_{self.objective.measure}",
            self.least,
            (self.objective.name, *terms),
            tuple(layers),
        )

    def faults(self, trial: Trial, record: Mapping[str, Any]) -> Iterable[str]:
        """Check the history."""
        return self.expected(trial).faults(record)

    def score(self, record: Mapping[str, Any]) -> float:
        """The validation after the last round."""
        return float(record["history"][-1][f"validation_{self.objective.measure}"])

    def test(self, trial: Trial, place: Place) -> float:
        """Measure the weights that a training left."""
        network = self.untrained(trial)
        place.weights(trial.name).load_into(network)
        module = PenalizedNetwork(
            network,
            objective=self.objective,
            outputs=self.outputs,
            schedule=Schedule(1, 1.0, 0.0),
            seed=0,
            shift=0,
            name=trial.name,
        )
        s, examples = self.settings, self.tasks.test()
        if isinstance(examples, LazyImages) and s.test_crops == "ten":
            examples = examples.ten_crops()
        return test(module, trial.name, place.folder, examples, s.accelerator, s.loaders)

    def draw(self, results: Results) -> Mapping[str, Figure]:
        """The comparison and the choice."""
        # Imported now: the libraries that draw take longer to load than a damaged folder to name.
        from kantorch.training.figures import draw_choice, draw_tests

        if not results.chosen:  # every trial diverged
            return {}
        measure = self.objective.measure
        return {
            "accuracy.png": draw_tests(results, measure),
            "alphas.png": draw_choice(results, measure),
        }

    def absent(self, results: Results) -> str:
        """Say what the methods need that did not apply."""
        s = self.settings
        unmet = {
            s.known[name].title: ", ".join(sorted(s.known[name].needs - self.facts()))
            for name in s.methods
            if not s.known[name].needs <= self.facts()
        }
        return "".join(f" {title} needs {what.replace('_', ' ')}." for title, what in unmet.items())

    def optimizer(self) -> str:
        """How a training on the target task goes, in words."""
        s = self.settings
        falls = s.rate_falls and f"after steps {', '.join(map(str, s.rate_falls))}"
        decay = f", weight decay {s.weight_decay:g}" if s.weight_decay else ""
        also = f" (also: {', '.join(s.augment)})" if s.augment else ""
        return f"""by stochastic gradient descent with momentum {s.momentum}{decay}, whose rate falls to a tenth
{falls or "after two thirds of the steps"}, on images shifted by up to {s.shift} pixel(s){also}"""

    def sizes(self) -> str:
        """How many examples each part has, as a Markdown list."""
        return "\n".join(f"- {name}: {n} examples" for name, n in self.tasks.sizes().items())
