"""`kantorch joint`: learn two tasks at once, with transport between the classes of their heads."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from kantorch.drivers import protocols
from kantorch.drivers._command import command_of
from kantorch.drivers.comparison import Comparison
from kantorch.drivers.comparison_settings import RATE
from kantorch.drivers.joint_costs import ClassCosts
from kantorch.drivers.joint_settings import ESTIMATES, EXTRACTOR, FILE, METHODS, JointSettings
from kantorch.drivers.two_heads import JointTraining, TwoHeads, make_two_heads
from kantorch.regularizers import LabelTransport
from kantorch.training.backbones import with_head_input
from kantorch.training.errors import ConfigError, RunError
from kantorch.training.files import system_path
from kantorch.training.module import TARGET
from kantorch.training.records import Weights
from kantorch.training.trial import Stage, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd
    from torch import Tensor, nn

    from kantorch.training._matplotlib import Figure
    from kantorch.training.driver import Place
    from kantorch.training.results import Results

COST = "cost"


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
        if s.cost is not None:
            self.costs.read(s.cost)
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

    @cached_property
    def costs(self) -> ClassCosts:
        """Costs between the classes of both tasks."""
        return ClassCosts(self.tasks)

    # The stages before.

    def prepare(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Train the extractor, or estimate a cost."""
        if trial.stage == EXTRACTOR:
            network = self.make(self.source_outputs, trial.seed)
            self._load_initial(network)
            rates, split = self.settings.layer_rates, self.tasks.source()
            return self.fit_source(network, trial, place, split, rates=rates)
        features = None if self.settings.features == "pixels" else self._features(place)
        cost = self.costs.estimate(trial.method, features, trial.seed)
        self.costs.write(place.of(trial) / "cost.csv", cost)
        place.advance(1)
        return {"cost": cost.tolist()}

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
            renew=lambda net, k: self.costs.estimate(kind, net.features, trial.seed, k),
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
            return self.costs.read(str(self.settings.cost))
        kind = ESTIMATES.get(trial.method)
        if kind is None:
            return None
        return self.costs.read(place.of(Trial(COST, kind, seed=trial.seed)) / "cost.csv")

    def faults(self, trial: Trial, record: Mapping[str, Any]) -> Iterable[str]:
        """Check history or cost."""
        if trial.stage == COST:
            yield from self.costs.faults(record)
            return
        terms = []
        if trial.stage == TARGET and "source" in dict(trial.params):
            terms = ["source_cross_entropy"]
            terms += ["transport"] if trial.method.startswith("jtln") else []
        yield from self.expected(trial, terms).faults(record)

    # What is told.

    def _costs(self, results: Results) -> dict[str, pd.DataFrame]:
        """The costs by their titles: of estimates, means over the seeds."""
        found: dict[str, list[Any]] = {}
        for trial, record in results.records.items():
            if trial.stage == COST:
                found.setdefault(f"{trial.method}, mean over seeds", []).append(record["cost"])
        if self.settings.cost is not None:
            found["file"] = [self.costs.read(self.settings.cost).numpy()]
        return {title: self.costs.table(costs) for title, costs in found.items()}

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


command = command_of(Joint)
