"""The Lightning module: cross-entropy plus a penalty, on shifted images, with a history per round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from kantorch.regularizers import RepresentationTransport
from kantorch.training.errors import NonFiniteError
from kantorch.training.trace import PlanTrace

if TYPE_CHECKING:
    from collections.abc import Sequence

Batch = list[Tensor]


@dataclass(frozen=True)
class Schedule:
    """Stochastic gradient descent whose rate falls to a tenth after two thirds of the steps."""

    steps: int
    learning_rate: float
    momentum: float


class TransferModule(LightningModule):
    """Trains a classifier, with a penalty if one is given.

    Args:
        network: The classifier.
        classes: Its number of classes.
        schedule: Of the optimizer.
        seed: Draws the augmentation, as a function of the step alone.
        shift: Images move by up to this many pixels each way.
        name: Of the trial, for error messages.
        regularizer: The penalty, called with the augmented images after the network has seen them.
        reference: The pre-trained network; validation then reports, for `layers`, the trace of the
            exact transport plan between its neurons and the network's.
        layers: See `reference`.

    Attributes:
        history: One row per round, with its last step.
        traces: Of the plans of a transport regularizer: per layer, one value per step.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: int,
        schedule: Schedule,
        seed: int,
        shift: int,
        name: str,
        regularizer: nn.Module | None = None,
        reference: nn.Module | None = None,
        layers: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.regularizer = regularizer
        self.schedule = schedule
        self.seed = seed
        self.shift = shift
        self.trial = name
        self.history: list[dict[str, float]] = []
        self.traces: dict[str, list[float]] = {}
        self.accuracy = MulticlassAccuracy(num_classes=classes, average="micro")
        # No module, so that checkpoints leave the reference out.
        self._trace = None if reference is None else PlanTrace(network, reference, layers)
        self._sums: dict[str, float] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return cross-entropy + penalty, both on the same augmented batch."""
        images, labels = batch
        images = shift_images(images, self.shift, [self.seed, self.global_step, self.global_rank])
        terms = {"cross_entropy": functional.cross_entropy(self.network(images), labels)}
        if self.regularizer is not None:
            terms["penalty"] = self.regularizer(images)
        for name, term in terms.items():
            value = term.item()
            self._require_finite(name, value)
            self._sums[name] = self._sums.get(name, 0.0) + value
        if isinstance(self.regularizer, RepresentationTransport):
            for layer, trace in self.regularizer.traces.items():
                self.traces.setdefault(layer, []).append(trace.item())
        self._sums["batches"] = self._sums.get("batches", 0.0) + 1
        return torch.stack(list(terms.values())).sum()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop before a gradient that is not finite reaches the weights."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norms = torch.stack([gradient.norm() for gradient in gradients])
        self._require_finite("gradient norm", norms.sum().item())

    def _require_finite(self, name: str, value: float) -> None:
        if not torch.isfinite(torch.tensor(value)):
            msg = (
                f"{name} must be finite, got {value} in {self.trial} at step {self.global_step} of "
                f"{self.schedule.steps}; a smaller learning rate or alpha may help"
            )
            raise NonFiniteError(msg)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure accuracy and, against the reference, how many neurons kept their place."""
        images, labels = batch
        observe = self.network if self._trace is None else self._trace.observe
        self.accuracy.update(observe(images), labels)

    def on_validation_epoch_end(self) -> None:
        """Close the round: one row of history, and the same numbers for the logger."""
        batches = self._sums.pop("batches", 1.0)
        row = {name: total / batches for name, total in self._sums.items()}
        row["validation_accuracy"] = self.accuracy.compute().item()
        if self._trace is not None:
            traces = self._trace.compute()
            row |= {f"validation_trace_{layer}": trace for layer, trace in traces.items()}
        self.history.append({"step": self.global_step, **row})
        self._sums = {}
        self.accuracy.reset()
        if self.trainer.logger is not None:
            self.trainer.logger.log_metrics(row, step=self.global_step)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count right answers."""
        images, labels = batch
        self.accuracy.update(self.network(images), labels)

    def on_test_epoch_end(self) -> None:
        """Report the accuracy."""
        self.log("test_accuracy", self.accuracy.compute(), rank_zero_only=True)
        self.accuracy.reset()

    def configure_optimizers(self) -> Any:
        """SGD with momentum; the rate falls once."""
        schedule = self.schedule
        optimizer = torch.optim.SGD(
            self.network.parameters(), lr=schedule.learning_rate, momentum=schedule.momentum
        )
        fall = torch.optim.lr_scheduler.MultiStepLR(optimizer, [schedule.steps * 2 // 3], gamma=0.1)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": fall, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep whose it is, the history and the traces, so that a resumed run has all of it."""
        checkpoint["trial"] = self.trial
        checkpoint["history"] = self.history
        checkpoint["traces"] = self.traces

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them back."""
        self.history = list(checkpoint["history"])
        self.traces = {layer: list(steps) for layer, steps in checkpoint["traces"].items()}


def shift_images(images: Tensor, reach: int, key: Sequence[int]) -> Tensor:
    """Move each image by up to `reach` pixels each way; borders are filled with its minimum.

    Args:
        images: (n, channels, height, width).
        reach: At least 0.
        key: Numbers that determine the draw.
    """
    if reach == 0:
        return images
    n, channels, height, width = images.shape
    # Drawn on the CPU, so that every device sees the same images.
    generator = torch.Generator().manual_seed(_mix(key))
    offset = torch.randint(0, 2 * reach + 1, (2, n), generator=generator).to(images.device)
    padded = functional.pad(images, (reach,) * 4, value=float("-inf"))
    padded = torch.where(padded.isinf(), images.amin(dim=(1, 2, 3), keepdim=True), padded)
    rows = offset[0][:, None] + torch.arange(height, device=images.device)
    columns = offset[1][:, None] + torch.arange(width, device=images.device)
    example = torch.arange(n, device=images.device)
    channel = torch.arange(channels, device=images.device)
    return padded[
        example[:, None, None, None],
        channel[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def _mix(key: Sequence[int]) -> int:
    """Fold a few numbers into a seed; neighbouring keys must not share draws."""
    seed = 0
    for number in key:
        seed = (seed * 1_000_003 + number + 1) % (2**63)
    return seed
