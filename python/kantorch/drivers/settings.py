"""What drivers that fine-tune can be told: the tasks, the networks, their training, the methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from kantorch.drivers.penalties import METHODS
from kantorch.training.model import LAYERS
from kantorch.training.settings import Count, Index, NonNegative, Positive
from kantorch.training.tasks import TaskSettings

if TYPE_CHECKING:
    from typing_extensions import Self

RATE = "lr"

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
    teacher: str | None = None
    """Weights of the first network, a file of a state_dict such as a run folder's
    trials/source/weights.pt, in place of learning them."""
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
