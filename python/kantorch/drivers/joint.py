"""`kantorch joint`: learn two tasks at once, with transport between the classes of their heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator

from kantorch.drivers import protocols
from kantorch.drivers._command import command_of
from kantorch.drivers.comparison import Comparison
from kantorch.drivers.comparison_settings import RATE, ComparisonSettings, Names, Rates
from kantorch.drivers.cost_file import CostFile, write_cost
from kantorch.drivers.two_heads import JointTraining, TwoHeads, make_two_heads
from kantorch.regularizers import LabelTransport, label_cost
from kantorch.training.backbones import CONVNET, with_head_input
from kantorch.training.batches import evaluation_loader
from kantorch.training.classes import Classes
from kantorch.training.errors import ConfigError, RunError
from kantorch.training.files import system_path
from kantorch.training.methods import Methods
from kantorch.training.module import TARGET
from kantorch.training.records import Weights, is_number
from kantorch.training.settings import Count, NonNegative
from kantorch.training.trial import Stage, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor, nn
    from typing_extensions import Self

    from kantorch.training._matplotlib import Figure
    from kantorch.training.batches import Examples
    from kantorch.training.driver import Place
    from kantorch.training.results import Results

EXTRACTOR = "extractor"
COST = "cost"
ESTIMATES = {"jtln_mkmmd": "mkmmd", "jtln_ot": "ot"}
FILE = "jtln_file"

METHODS = Methods()
STRENGTHS = {"source": (0.3, 1.0), "alpha": (0.1, 0.3, 1.0), "reg": (0.1,)}


@METHODS.method("target", title="target only")
@METHODS.method("consecutive", title="consecutive")
@METHODS.method("joint", title="joint, without transport", grid={"source": (0.1, 0.3, 1.0)})
def alone(cost: Tensor | None, **params: float) -> None:
    """No term between the heads."""


@METHODS.method("jtln_mkmmd", title="joint, cost by MK-MMD", grid=STRENGTHS)
@METHODS.method("jtln_ot", title="joint, cost by transport", grid=STRENGTHS)
@METHODS.method(FILE, title="joint, cost from a file", grid=STRENGTHS, needs={"cost_file"})
def between_heads(
    cost: Tensor, *, alpha: float, reg: float, value: Any, **params: float
) -> LabelTransport:
    """Transport between the class probabilities of the heads."""
    return LabelTransport(cost, reg=reg, alpha=alpha, value=value)


class JointSettings(ComparisonSettings):
    """Settings of `kantorch joint`."""

    known: ClassVar[Methods] = METHODS
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Two targets, as the planes of two manufacturers are: the rest is the source.
        "boeing-like": {"target_classes": (1, 4, 7), "source_classes": (0, 2, 3, 5, 6, 8, 9)},
        "airbus-like": {"target_classes": (3, 8, 9), "source_classes": (0, 1, 2, 4, 5, 6, 7)},
    }

    source_classes: Classes = (0, 2, 3, 5, 6, 8, 9)
    """Labels of the task that helps."""
    target_classes: Classes = (1, 4, 7)
    """Labels of the task that counts."""
    methods: Names = ("target", "consecutive", "joint", "jtln_mkmmd", "jtln_ot")
    """Which to compare; also jtln_file, with a cost that is handed in."""
    steps: Count = 200
    """Mini-batches of each task in one training."""
    learning_rates: Rates = (0.02, 0.05)
    """Learning rates to choose from, in the grid of every method that has no `lr` of its own; each
    falls to a tenth after two thirds of the steps."""
    layer_rates: dict[str, NonNegative] = Field(default_factory=dict)
    """Factors on the learning rate, by module: block1, block2, block3, head or source_head, or
    modules of other networks such as features.8; 0 freezes."""
    initial: str | None = None
    """Weights of a pre-trained network that every method starts from, a file of its state_dict; its
    head is left out. None: random weights, drawn by the seed."""
    extractor: str | None = None
    """Weights of the network whose features the costs compare, and which `consecutive` starts from,
    in place of learning them on the source task."""
    features: Literal["extractor", "initial", "pixels"] = "extractor"
    """What the costs compare: the penultimate layer of the extractor or of the initial network, or
    the images themselves."""
    cost: str | None = None
    """A table of costs for jtln_file: a CSV file with source classes as rows and target classes as
    columns, both named."""
    refresh_cost: Annotated[int, Field(ge=0)] = 0
    """Rounds after which the cost is estimated anew, with the trunk as it has become; 0: never."""
    value: Literal["regularized", "sharp"] = "regularized"
    """What the term between the heads is: with its entropy, or the cost of the plan alone."""

    @classmethod
    def paper(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """FGVC-Aircraft by manufacturer, with AlexNet."""
        return protocols.joint(given)

    @model_validator(mode="after")
    def _classes_and_parts(self) -> Self:
        if self.loss != "cross_entropy":
            msg = f"loss must be 'cross_entropy' between classes, got {self.loss!r}"
            raise ValueError(msg)
        parts = ("block1", "block2", "block3", "head", "source_head")
        for name in self.layer_rates:
            if name not in parts and self.backbone == CONVNET:
                msg = f"layer_rates must name parts of {', '.join(parts)}, got {name!r}"
                raise ValueError(msg)
        if self.features == "initial" and self.initial is None:
            msg = "features 'initial' needs initial: a file of the weights of a trained network"
            raise ValueError(msg)
        return self


class Joint(Comparison[JointSettings]):
    """Learn a target task together with a source task, and compare it with learning it alone.

    One trunk carries a head for each task (by default seven and three of the bundled digits). The
    target's images go through both heads, and what the source head says is transported to the target
    classes, at costs that say how far classes are apart: from MK-MMD or transport between their
    features, or from a file. Rivals: the target alone, the source first and then the target, and both
    together without transport. Writes what `kantorch transfer` writes, and the costs.

    Source: Lu, Chen, Saidi: Optimal transport for deep joint transfer learning, sections 3 and 4.
    """

    name: ClassVar[str] = "joint"
    settings_type = JointSettings
    pictures: ClassVar[tuple[str, ...]] = (
        "accuracy.png",
        "alphas.png",
        "cost.png",
        "trials/cost/*/cost.csv",
    )

    def sources(self) -> Sequence[Stage]:
        """The extractor, and a cost of every kind from every seed's labelled examples."""
        s = self.settings
        wanted = [ESTIMATES[method] for method in s.methods if method in ESTIMATES]
        learnt = "consecutive" in s.methods or (wanted and s.features == EXTRACTOR)
        extractor = Stage(EXTRACTOR, (Trial(EXTRACTOR, seed=s.data_seed),))
        costs = tuple(Trial(COST, kind, seed=seed) for seed in self.seeds for kind in wanted)
        stages = [extractor] if learnt and s.extractor is None else []
        return [*stages, Stage(COST, costs)] if costs else stages

    def facts(self) -> frozenset[str]:
        """Whether a cost was handed in."""
        return frozenset() if self.settings.cost is None else frozenset({"cost_file"})

    def inputs(self) -> Mapping[str, str]:
        """The data, and what is handed in."""
        s = self.settings
        files = {"initial": s.initial, "extractor": s.extractor, "cost": s.cost}
        return {**super().inputs(), **{k: v for k, v in files.items() if v is not None}}

    def check(self, world_size: int) -> None:
        """Refuse weights, a cost file and rates that do not fit."""
        super().check(world_size)
        if not self.tasks.source_classes:
            msg = "source_data must be those of a task, got 'none'"
            raise ConfigError(msg)
        names = [f".{name}." for name, _ in self.untrained(Trial(TARGET)).named_parameters()]
        for part in self.settings.layer_rates:
            if not any(f".{part}." in name for name in names):
                msg = f"layer_rates must name parts of {self.settings.backbone}, got {part!r}"
                raise ConfigError(msg)
        s, given = self.settings, self.make(self.source_outputs, 0)
        if s.initial is not None and system_path(s.initial).is_file():
            self._load_initial(given)
        if s.extractor is not None and system_path(s.extractor).is_file():
            Weights.given(EXTRACTOR, s.extractor).load_into(given)
        if self.settings.cost is not None:
            self._file()
        if self.settings.protocol == "paper":
            self._require_counts()

    def _require_counts(self) -> None:
        """Refuse planes of another number than those of the paper's table 1."""
        maker = protocols.manufacturer(self.settings.target_classes)
        wanted = protocols.COUNTS.get(maker or "")
        sizes, tasks = self.tasks.sizes(), self.tasks
        found = (
            len(tasks.target_classes),
            sizes["target training, per seed"] + sizes["target validation, per seed"],
            sizes["target test"],
            len(tasks.source_classes),
            sizes["source training"] + sizes["source validation"],
        )
        if wanted is not None and found != wanted:
            msg = (
                f"{self.settings.data} must hold the planes of the paper, for {maker} {wanted}: target "
                "classes, images to train on and to test, source classes and images; it holds "
                f"{found}"
            )
            raise RunError(msg)

    def steps(self, trial: Trial) -> int:
        """Mini-batches; a cost is one."""
        return 1 if trial.stage == COST else super().steps(trial)

    # The stages before.

    def prepare(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Train the extractor, or estimate a cost."""
        if trial.stage == EXTRACTOR:
            network = self.make(self.source_outputs, trial.seed)
            self._load_initial(network)
            rates, split = self.settings.layer_rates, self.tasks.source()
            return self.fit_source(network, trial, place, split, rates=rates)
        features = None if self.settings.features == "pixels" else self._features(place)
        cost = self._estimate(trial.method, features, trial.seed)
        write_cost(place.of(trial) / "cost.csv", cost, *self._classes())
        place.advance(1)
        return {"cost": cost.tolist()}

    def _estimate(
        self,
        kind: Any,
        features: Callable[[Tensor], Tensor] | None,
        seed: int,
        renewal: int = 0,
    ) -> Tensor:
        source, target = self.tasks.source().train, self.tasks.target(seed).train
        key = int(np.random.default_rng([seed, renewal, 5]).integers(2**62))
        generator = torch.Generator().manual_seed(key)
        (x, of_x), (y, of_y) = (_features(part, features) for part in (source, target))
        return label_cost(x, of_x, y, of_y, method=kind, generator=generator)

    def _features(self, place: Place) -> Callable[[Tensor], Tensor]:
        """The penultimate layer of the network whose features the costs compare."""
        network = self.make(self.source_outputs, 0)
        if self.settings.features == "initial":
            self._load_initial(network)
        else:
            self._extractor_weights(place).load_into(network)
        network.eval()
        return lambda images: with_head_input(network, self.head, images)[0]

    def _load_initial(self, network: nn.Module) -> None:
        """Begin with the weights that were handed in, if any were."""
        name = self.settings.initial
        if name is not None:
            Weights.given("initial", name).load_trunk_into(network, self.head)

    def _extractor_weights(self, place: Place) -> Weights:
        path = self.settings.extractor
        return place.weights(EXTRACTOR) if path is None else Weights.given(EXTRACTOR, path)

    def _file(self) -> Tensor:
        return CostFile(str(self.settings.cost)).read(*self._classes())

    def _classes(self) -> tuple[list[str], list[str]]:
        return self.tasks.names("source"), self.tasks.names("target")

    # The comparison.

    def untrained(self, trial: Trial) -> TwoHeads:
        """Trunk and heads, drawn by the trial's seed."""
        sizes = self.source_outputs, self.outputs
        return make_two_heads(self.backbone, self.tasks.in_channels, *sizes, trial.seed)

    def train(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Train, on one task or on both."""
        s, params = self.settings, dict(trial.params)
        network = self.untrained(trial)
        self._start(network, trial, place)
        kind = ESTIMATES.get(trial.method)
        own = {name: value for name, value in params.items() if name not in (RATE, "source")}
        cost = self._cost(trial, place)
        transport = METHODS[trial.method].build(cost, value=s.value, **own)
        assert transport is None or isinstance(transport, LabelTransport)
        module = JointTraining(
            network,
            source=params.get("source"),
            rates=s.layer_rates,
            transport=transport,
            renew=lambda net, k: self._estimate(kind, net.features, trial.seed, k),
            renew_every=s.refresh_cost if kind else 0,
            objective=self.objective,
            outputs=self.outputs,
            schedule=s.schedule(params[RATE]),
            seed=trial.seed,
            shift=s.shift,
            augment=s.augment,
            name=trial.name,
        )
        split = self.tasks.target(trial.seed)
        both = {"target": split.train, "source": self.tasks.source().train}
        train = split.train if "source" not in params else both
        return self.fit(module, trial, place, train, split.validation, s.batch_size)

    def _start(self, network: TwoHeads, trial: Trial, place: Place) -> None:
        """Give the trunk the weights that the method begins with."""
        if trial.method == "consecutive":
            self._extractor_weights(place).load_trunk_into(network.network, self.head)
        else:
            self._load_initial(network.network)

    def _cost(self, trial: Trial, place: Place) -> Tensor | None:
        if trial.method == FILE:
            return self._file()
        kind = ESTIMATES.get(trial.method)
        if kind is None:
            return None
        path = place.of(Trial(COST, kind, seed=trial.seed)) / "cost.csv"
        return CostFile(str(path)).read(*self._classes())

    def faults(self, trial: Trial, record: Mapping[str, Any]) -> Iterable[str]:
        """Check history or cost."""
        if trial.stage == COST:
            rows, columns = map(len, self._classes())
            cost = np.array(record.get("cost"), dtype=object)
            if cost.shape != (rows, columns) or not all(map(is_number, cost.flat)):
                yield f"cost must hold {rows} x {columns} finite numbers"
            return
        terms = []
        if trial.stage == TARGET and "source" in dict(trial.params):
            terms = ["source_cross_entropy"]
            terms += ["transport"] if trial.method.startswith("jtln") else []
        yield from self.expected(trial, terms).faults(record)

    # What is told.

    def _costs(self, results: Results) -> dict[str, pd.DataFrame]:
        """The costs by their titles: of estimates, means over the seeds."""
        names = self._classes()
        costs: dict[str, list[Any]] = {}
        for trial, record in results.records.items():
            if trial.stage == COST:
                costs.setdefault(f"{trial.method}, mean over seeds", []).append(record["cost"])
        tables = {title: pd.DataFrame(np.mean(found, 0), *names) for title, found in costs.items()}
        if self.settings.cost is not None:
            tables["file"] = pd.DataFrame(self._file().numpy(), *names)
        return tables

    def draw(self, results: Results) -> Mapping[str, Figure]:
        """The comparison, the choice, and the costs."""
        from kantorch.training.figures import draw_matrices

        tables = self._costs(results)
        axes = "target class", "source class"
        pictures = {"cost.png": draw_matrices(tables, *axes)} if tables else {}
        return {**super().draw(results), **pictures}

    def table(self, results: Results) -> str:
        """The comparison, beside joint training without transport."""
        return results.table("joint")

    def report(self, results: Results) -> str:
        """Tell what was done."""
        s = self.settings
        picture = "\n![Costs between classes](cost.png)" if self._costs(results) else ""
        return f"""# Two tasks at once, with transport between their classes

{self.table(results)}

Mean ± sample standard deviation over {len(results.seeds)} seeds; *minus joint* is paired by seed, with
Student's interval of 95 %. A star marks a chosen value on the edge of its grid: better ones may lie
beyond.{self.absent(results)}

![Test per method](accuracy.png)
![Validation against the strength](alphas.png){picture}

## Protocol

The source task has the classes {self.tasks.told("source")} of `{s.source_data or s.data}`, with all its
examples; the target the classes {self.tasks.told("target")} of `{s.data}` with {s.labels_per_class} labels
per class. All of them, each a {self.backbone.told()}, start from
{"random weights" if s.initial is None else s.initial}, for `consecutive` from those learnt on the source
task, and take {s.steps} mini-batches of {s.batch_size} of the target, and as many of the source where both are
learnt, {self.optimizer()}. Costs compare {s.features} of the
source's training examples with those of the seed's labelled target examples.

Each seed draws the labelled examples, the weights and the batches, the same for every method. A method's
parameters are those of its grid with the best mean validation over the seeds. The test part was set
apart once, took part in no choice, and was measured once, after every training had ended.

{self.sizes()}
"""


def _features(part: Examples, features: Callable[[Tensor], Tensor] | None) -> tuple[Tensor, Tensor]:
    found, labels = [], []
    with torch.no_grad():
        for images, of_images in evaluation_loader(part):
            found.append(images.flatten(1) if features is None else features(images))
            labels.append(of_images)
    return torch.cat(found), torch.cat(labels)


command = command_of(Joint)
