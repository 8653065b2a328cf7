"""Settings of drivers that train a network on few labels by each of several methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from kantorch.drivers.protocols import Protocol
from kantorch.training.backbones import CONVNET
from kantorch.training.errors import ConfigError
from kantorch.training.module import Schedule
from kantorch.training.settings import Count, Index, NonNegative, Positive
from kantorch.training.task_settings import TaskSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from kantorch.training.methods import Methods

RATE = "lr"

Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Widths = Annotated[tuple[Count, ...], Field(strict=False, min_length=3, max_length=3)]
Rates = Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)]
Grid = dict[str, Rates]


class ComparisonSettings(TaskSettings):
    """The tasks, the networks, their training, and what is compared."""

    known: ClassVar[Methods]

    protocol: Protocol = "small"
    """"paper" begins with the settings of the paper, for its own data and networks."""
    backbone: str = CONVNET
    """The network: "convnet"; resnet56, resnet56-slim, resnet1001 or wrn-28-10 of kantorch.models;
    torchvision:NAME; timm:NAME; or FILE.py:FUNCTION, which is called with `classes` and
    `in_channels` and runs that file."""
    head: str | None = None
    """The linear module that gives the outputs. None: the network's last linear module."""
    channels: Widths = (16, 32, 64)
    """Widths of the three convolutions of "convnet"; the last is the penultimate layer's."""
    pretrain_steps: Count = 500
    """Mini-batches on the source task."""
    pretrain_batch_size: Count = 64
    """Examples per mini-batch there."""
    pretrain_learning_rate: Positive = 0.05
    """Learning rate there; a tenth of it after two thirds of the steps."""
    steps: Count = 100
    """Mini-batches of one training on the target task."""
    batch_size: Count = 32
    """Examples per mini-batch."""
    learning_rates: Rates = (0.05,)
    """Learning rates to choose from, in the grid of every method that has no `lr` of its own; each
    falls to a tenth after two thirds of the steps."""
    rate_falls: Annotated[tuple[Count, ...], Field(strict=False)] = ()
    """Mini-batches after which the rate falls to a tenth, in place of two thirds of the steps."""
    pretrain_rate_falls: Annotated[tuple[Count, ...], Field(strict=False)] = ()
    """The same of what is learnt on the source task."""
    weight_decay: NonNegative = 0.0
    """Of every training's optimizer, whatever the method; that of `l2` comes on top."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of stochastic gradient descent."""
    shift: Annotated[int, Field(ge=0)] = 1
    """Augmentation: images move by up to this many pixels each way."""
    augment: Annotated[tuple[Literal["mirror", "blur"], ...], Field(strict=False)] = ()
    """More of it, by kornia: "mirror" and "blur", each for every second image."""
    test_crops: Literal["one", "ten"] = "one"
    """Of images on disk: the centre, or also the corners, and all of them mirrored, whose
    probabilities are averaged."""
    loaders: Annotated[int, Field(ge=0)] = 0
    """Processes that read images ahead."""
    rounds: Count = 5
    """Each training is cut into so many parts; after each it is validated and saved."""
    methods: Names = ()
    """Which to compare."""
    grids: Annotated[dict[str, Grid], Field(default_factory=dict)]
    """Values to choose from, per method and parameter, where they are not the default."""
    seeds: Count = 5
    """Trainings per method and point of its grid: they draw labelled examples, new weights and the
    batches."""
    first_seed: Index = 0
    """The lowest of the seeds, which follow each other."""

    @field_validator("methods")
    @classmethod
    def _know_methods(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            cls.known[name]
        if not names or len(set(names)) < len(names):
            msg = "must hold different methods"
            raise ValueError(msg)
        return names

    @field_validator("grids")
    @classmethod
    def _fill_grids(cls, given: dict[str, Grid], info: ValidationInfo) -> dict[str, Grid]:
        """Write out what each method in use is tuned by."""
        for name in given:
            cls.known[name]
        filled = {}
        for name in info.data.get("methods", ()):
            known, own = cls.known[name].grid, given.get(name, {})
            for parameter, values in own.items():
                parameters = [*cls.known[name].parameters, RATE]
                if parameter not in parameters:
                    msg = f"must hold parameters of {name} ({', '.join(parameters)})"
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
        for name, steps in (("rate_falls", "steps"), ("pretrain_rate_falls", "pretrain_steps")):
            falls, total = getattr(self, name), getattr(self, steps)
            if list(falls) != sorted(set(falls)) or any(fall >= total for fall in falls):
                msg = f"{name} must rise and be below {steps} ({total}), got {falls}"
                raise ValueError(msg)
        return self

    @classmethod
    def paper(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The settings of the paper, for what is given."""
        msg = f"protocol must be 'small': no protocol was published for {cls.__name__}"
        raise ConfigError(msg)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], preset: str | None = None) -> Self:
        """Make settings from plain data; of a paper's protocol where that is asked for."""
        if mapping.get("protocol") == "paper":
            if preset is not None:
                msg = f"preset must not be given with protocol 'paper', got {preset!r}"
                raise ConfigError(msg)
            mapping = {**cls.paper(mapping), **mapping}
        return super().from_mapping(mapping, preset)

    def schedule(self, rate: float) -> Schedule:
        """Of a training on the target task."""
        falls = self.rate_falls or None
        return Schedule(self.steps, rate, self.momentum, self.weight_decay, falls)
