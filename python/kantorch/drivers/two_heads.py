"""One trunk with a head for the source classes and one for the target's, trained on both together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kantorch.training.backbones import with_head_input
from kantorch.training.module import PenalizedNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from kantorch.regularizers import LabelTransport
    from kantorch.training.backbones import Backbone


SOURCE_HEAD = "source_head"


class TwoHeads(nn.Module):
    """A network whose own head is the target's, and a second head on the same features.

    Args:
        network: Trunk and target head.
        head: The name of that head, a linear module.
        source_classes: Outputs of the second head.
    """

    def __init__(self, network: nn.Module, head: str, source_classes: int) -> None:
        super().__init__()
        self.network = network
        self._head = head
        linear: Any = network.get_submodule(head)
        self.source_head = nn.Linear(linear.in_features, source_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the target classes."""
        logits: Tensor = self.network(images)
        return logits

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the source classes and those of the target classes."""
        features, outputs = with_head_input(self.network, self._head, images)
        return self.source_head(features), outputs

    def features(self, images: Tensor) -> Tensor:
        """Return what both heads see (n, d)."""
        return with_head_input(self.network, self._head, images)[0]


def make_two_heads(
    backbone: Backbone, in_channels: int, source: int, target: int, seed: int
) -> TwoHeads:
    """Make such a network with weights drawn from `seed`, without touching the global generator."""
    network = backbone.make(in_channels, target, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return TwoHeads(network, backbone.head(network), source)


class JointTraining(PenalizedNetwork):
    """Cross-entropy of both tasks, and transport between the heads on the target's images.

    Source: Lu, Chen, Saidi: Optimal transport for deep joint transfer learning, eq. 4, whose first
    term is meant to be the target's.

    Args:
        network: Trunk and heads.
        source: Strength of the source task, lambda_s. None: the target alone, from plain batches.
        transport: The term between the heads, with its strength; None: without it.
        renew: Makes the cost of that term anew from the network; None: it stays.
        renew_every: Rounds after which that is done.
        **options: See `PenalizedNetwork`.
    """

    network: TwoHeads

    def __init__(
        self,
        network: TwoHeads,
        *,
        source: float | None,
        transport: LabelTransport | None = None,
        renew: Callable[[TwoHeads, int], Tensor] | None = None,
        renew_every: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        self.source = source
        self.transport = transport
        self._renew = renew
        self._renew_every = renew_every

    def on_train_epoch_start(self) -> None:
        """Renew the cost, with the trunk as it has become."""
        if self.transport is None or self._renew is None or not self._renew_every:
            return
        if self.current_epoch and self.current_epoch % self._renew_every == 0:
            cost = self._renew(self.network, self.current_epoch)
            self.transport.cost.copy_(cost.to(self.transport.cost))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch of each task."""
        if self.source is None:
            return super().training_step(batch, batch_idx)
        images, labels = batch["target"]
        of_source, of_target = self.network.both(self.shifted(images))
        terms = {"cross_entropy": self.checked("cross_entropy", cross_entropy(of_target, labels))}
        others, theirs = batch["source"]
        logits, _ = self.network.both(self.shifted(others, 1))
        name = "source_cross_entropy"
        terms[name] = self.checked(name, self.source * cross_entropy(logits, theirs))
        if self.transport is not None:
            with self.solver_refuses("transport"):
                transport = self.transport(of_source, of_target)
            terms["transport"] = self.checked("transport", transport)
        return self.total(terms)
