"""Settings of `kantorch joint`, and the methods that it compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from kantorch.drivers import protocols
from kantorch.drivers.comparison_settings import ComparisonSettings, Names, Rates
from kantorch.regularizers import LabelTransport
from kantorch.training.backbones import CONVNET
from kantorch.training.classes import Classes
from kantorch.training.methods import Methods
from kantorch.training.settings import Count, NonNegative

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from typing_extensions import Self

EXTRACTOR = "extractor"
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
