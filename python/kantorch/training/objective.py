"""What a network is trained for, and by what it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.nn import functional
from torchmetrics import R2Score
from torchmetrics.classification import MulticlassAccuracy

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torchmetrics import Metric


@dataclass(frozen=True)
class Objective:
    """A loss and the measure that goes with it.

    Attributes:
        name: Of the loss's term.
        loss: Maps outputs (n, k) and targets to a mean over the batch.
        measure: The measure's name; 1 is the best that it can be.
        least: The lowest that it can be.
        metric: Makes the measure for k outputs.
    """

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    measure: str
    least: float
    metric: Callable[[int], Metric]


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, labels)


OBJECTIVES = {
    "cross_entropy": Objective(
        "cross_entropy",
        _cross_entropy,
        "accuracy",
        0.0,
        lambda classes: MulticlassAccuracy(num_classes=classes, average="micro"),
    ),
    # R^2 is the share of the targets' variance that is explained: the mean over the outputs.
    "mse": Objective("mse", functional.mse_loss, "r2", float("-inf"), lambda outputs: R2Score()),
}
