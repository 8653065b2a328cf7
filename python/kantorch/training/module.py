"""The Lightning module: a loss plus a penalty, on shifted images, with a history per round."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from kantorch.regularizers import FilterWasserstein, RepresentationTransport
from kantorch.training.augment import Augmentation
from kantorch.training.errors import NonFiniteError
from kantorch.training.ranks import any_value
from kantorch.training.trace import PlanTrace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kantorch.regularizers import Layer
    from kantorch.training.objective import Objective

Batch = list[Tensor]
TARGET, UNLABELLED = "target", "unlabelled"


@dataclass(frozen=True)
class Schedule:
    """Stochastic gradient descent whose rate falls to a tenth, once or more often.

    Attributes:
        steps: Of the training.
        learning_rate: To begin with.
        momentum: Of the optimizer.
        weight_decay: Of the optimizer.
        falls: Steps after which the rate falls. None: two thirds of all.
    """

    steps: int
    learning_rate: float
    momentum: float
    weight_decay: float = 0.0
    falls: Sequence[int] | None = None


class PenalizedNetwork(LightningModule):
    """Trains a network, with a penalty if one is given.

    Args:
        network: The network.
        objective: The loss and the measure.
        outputs: How many the network has.
        schedule: Of the optimizer.
        seed: Draws the augmentation, as a function of the step alone.
        shift: Images move by up to this many pixels each way.
        augment: What else is done to them; see `Augmentation`.
        name: Of the trial, for error messages.
        regularizer: The penalty, called after the network has seen the augmented images.
            What it holds to be trained is trained with the network.
        reference: Another network with the same layers; validation then reports, for `layers`, the
            trace of the exact transport plan between its neurons and the network's.
        layers: See `reference`.
        watched: Returns further numbers of each round, by name.
        rates: Factors on the learning rate, by the name of a part of the network; 0 freezes it.

    Attributes:
        history: One row per round, with its last step.
        traces: Of the plans of transport regularizers: per layer, one value per step.
        measure: The name of what validation and test tell.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        objective: Objective,
        outputs: int,
        schedule: Schedule,
        seed: int,
        shift: int,
        name: str,
        augment: Sequence[str] = (),
        regularizer: nn.Module | None = None,
        reference: nn.Module | None = None,
        layers: Sequence[str | Layer] = (),
        watched: Callable[[], Mapping[str, float]] | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.regularizer = regularizer
        self.objective = objective
        self.schedule = schedule
        self.rates = rates or {}
        self.seed = seed
        self._augmented = Augmentation(shift, augment)
        self.trial = name
        self.measure = objective.measure
        self.history: list[dict[str, float]] = []
        self.traces: dict[str, list[float]] = {}
        self.metric = objective.metric(outputs)
        # No module, so that checkpoints leave the reference out.
        self._trace = None if reference is None else PlanTrace(network, reference, layers)
        self._watched = watched
        self._sums: dict[str, float] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs."""
        outputs: Tensor = self.network(images)
        return outputs

    def training_step(self, batch: Batch | dict[str, Batch], batch_idx: int) -> Tensor:
        """Return loss + penalty, on the same augmented batch unless one is "unlabelled"."""
        parts = batch if isinstance(batch, dict) else {TARGET: batch}
        images, targets = parts[TARGET]
        if self.regularizer is not None:
            with self.solver_refuses("penalty"):
                _follow(self.regularizer)
        loss = self.objective.loss(self.network(self.shifted(images)), targets)
        terms = {self.objective.name: self.checked(self.objective.name, loss)}
        if self.regularizer is not None:
            if UNLABELLED in parts:  # a penalty looks at the network's last pass
                self.network(self.shifted(parts[UNLABELLED][0], 1))
            with self.solver_refuses("penalty"):
                penalty = self.regularizer()
            terms["penalty"] = self.checked("penalty", penalty)
            self._note_traces(self.regularizer)
        return self.total(terms)

    def shifted(self, images: Tensor, *key: int) -> Tensor:
        """The images augmented, by a draw that is a function of the step and a key."""
        return self._augmented(images, [self.seed, self.global_step, self.global_rank, *key])

    def checked(self, name: str, term: Tensor) -> Tensor:
        """The term of a step, which is noted.

        Raises:
            NonFiniteError: If it is not finite, here or in another process.
        """
        value = term.item()
        self._require_finite(name, value)
        self._sums[name] = self._sums.get(name, 0.0) + value
        return term

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The sum of a step's terms."""
        self._sums["batches"] = self._sums.get("batches", 0.0) + 1
        return torch.stack(list(terms.values())).sum()

    @contextmanager
    def solver_refuses(self, name: str) -> Iterator[None]:
        """A transport of what has diverged: solvers refuse costs that are not finite."""
        try:
            yield
        except (ValueError, FloatingPointError) as error:
            if "finite" not in str(error):
                raise
            raise NonFiniteError(self._diverged(f"{name} cannot be computed: {error}")) from error

    def _note_traces(self, regularizer: nn.Module) -> None:
        for module in regularizer.modules():
            if isinstance(module, RepresentationTransport):
                for layer, trace in module.traces.items():
                    self.traces.setdefault(layer, []).append(trace.item())

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop before a gradient that is not finite reaches the weights."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norms = torch.stack([gradient.norm() for gradient in gradients])
        self._require_finite("gradient norm", norms.sum().item())

    def _require_finite(self, name: str, value: float) -> None:
        # One process alone must not leave the others waiting for it.
        worst = any_value(value, lambda v: not math.isfinite(v))
        if worst is not None:
            raise NonFiniteError(self._diverged(f"{name} must be finite, got {worst}"))

    def _diverged(self, fault: str) -> str:
        return (
            f"{fault} in {self.trial} at step {self.global_step} of {self.schedule.steps}; "
            "a smaller learning rate or alpha may help"
        )

    def on_validation_start(self) -> None:
        """Stop before weights that have overflowed are judged or saved."""
        for name, weight in self.network.named_parameters():
            if not weight.isfinite().all():  # the same in every process
                raise NonFiniteError(self._diverged(f"the weights {name} must be finite"))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure and, against the reference, look how many neurons kept their place."""
        images, targets = batch
        observe = self.network if self._trace is None else self._trace.observe
        with self.solver_refuses("the trace"):
            outputs = observe(images)
        self.metric.update(outputs, targets)

    def on_validation_epoch_end(self) -> None:
        """Close the round: one row of history, and the same numbers for the logger."""
        batches = self._sums.pop("batches", 1.0)
        row = {name: total / batches for name, total in self._sums.items()}
        row[f"validation_{self.measure}"] = self.metric.compute().item()
        if self._trace is not None:
            with self.solver_refuses("the trace"):
                traces = self._trace.compute()
            row |= {f"validation_trace_{layer}": trace for layer, trace in traces.items()}
        if self._watched is not None:
            row |= self._watched()
        self.history.append({"step": self.global_step, **row})
        self._sums = {}
        self.metric.reset()
        if self.trainer.logger is not None:
            self.trainer.logger.log_metrics(row, step=self.global_step)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure."""
        images, targets = batch
        if images.ndim == 5:  # several crops of each: (n, crops, channels, height, width)
            crops = self.network(images.flatten(0, 1)).softmax(1)
            outputs = crops.unflatten(0, images.shape[:2]).mean(1)
        else:
            outputs = self.network(images)
        self.metric.update(outputs, targets)

    def on_test_epoch_end(self) -> None:
        """Report the measure."""
        self.log(f"test_{self.measure}", self.metric.compute(), rank_zero_only=True)
        self.metric.reset()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained, as torch's optimizers take it: the network and a penalty's own weights."""
        rate = self.schedule.learning_rate
        groups = rated_groups(self.network, self.rates, rate)
        own = () if self.regularizer is None else self.regularizer.parameters()
        trained = [weight for weight in own if weight.requires_grad]
        if trained and groups[0]["lr"] == rate:
            groups[0]["params"] += trained
        elif trained:
            groups.append({"params": trained, "lr": rate})
        return groups

    def configure_optimizers(self) -> Any:
        """SGD with momentum; the rate falls."""
        schedule = self.schedule
        groups = self.parameter_groups()
        optimizer = torch.optim.SGD(
            groups,
            lr=schedule.learning_rate,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
        )
        falls = [schedule.steps * 2 // 3] if schedule.falls is None else list(schedule.falls)
        fall = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, gamma=0.1)
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


def rated_groups(
    network: nn.Module, rates: Mapping[str, float], learning_rate: float
) -> list[dict[str, Any]]:
    """Parameters by the factor on their learning rate; those with the factor 0 are frozen."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        part = next((key for key in rates if f".{key}." in f".{name}."), None)
        rate = 1.0 if part is None else rates[part]
        parameter.requires_grad_(rate > 0)
        if rate > 0:
            groups.setdefault(rate, []).append(parameter)
    return [{"params": found, "lr": learning_rate * rate} for rate, found in groups.items()]


def _follow(regularizer: nn.Module) -> None:
    """Let critics follow the network before its step."""
    for part in regularizer.modules():
        if isinstance(part, FilterWasserstein):
            part.step()
