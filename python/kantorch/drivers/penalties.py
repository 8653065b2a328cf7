"""The penalties that fine-tuning compares: one function each, and nothing else to add one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from kantorch.config import show_config
from kantorch.critics import MinMaxTree
from kantorch.regularizers import (
    BSS,
    DELTA,
    L2,
    L2SP,
    FilterWasserstein,
    FitNet,
    KnowledgeDistillation,
    RepresentationTransport,
    Watch,
    channel_attention,
)
from kantorch.training.backbones import with_fitted_head
from kantorch.training.methods import Methods

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor, nn

    from kantorch.regularizers import KernelPrior, Layer

METHODS = Methods()
ATTENTION_BATCHES = 4  # of evaluation, as many as in DELTA's authors' code


@dataclass(frozen=True)
class Pair:
    """What a penalty may be made of.

    Attributes:
        student: The network that is trained.
        teacher: The one it is held to, frozen.
        start: The network that the student started from, which has another head.
        layers: What representations are compared at.
        head: The modules of the student that are new on the target task.
        teacher_head: The module of the teacher that gives its outputs.
        head_beta: The strength of L2-SP and DELTA on the head.
        example: One example of the target task.
        labelled: The labelled examples of the target task, in batches.
        loss: Of outputs and labels.
        outputs: Of the student.
        temperature: Of distillation.
        temperature_squared: Whether distillation is multiplied by its square.
        spatial: What a neuron of a feature map is.
        normalize: Whether distances between neurons do not grow with the batch.
        solver: Of the optimal plan.
        solver_max_iter: IPOT's proximal steps.
        prior: Kernels of source networks, if there are any.
    """

    student: nn.Module
    teacher: nn.Module
    start: nn.Module
    layers: Sequence[str | Layer]
    head: Sequence[str]
    teacher_head: str
    head_beta: float
    example: Tensor
    labelled: Iterable[tuple[Tensor, ...]]
    loss: Callable[[Tensor, Tensor], Tensor]
    outputs: int
    temperature: float
    temperature_squared: bool
    spatial: Literal["mean", "flatten"]
    normalize: bool
    solver: Literal["ipot", "exact"]
    solver_max_iter: int
    prior: KernelPrior | None = None

    @cached_property
    def watch(self) -> Watch:
        """One pass of student and teacher for every penalty of a sum."""
        return Watch(self.student, self.teacher)


@METHODS.method("none", title="none")
def none(pair: Pair) -> None:
    """No penalty."""


@METHODS.method("l2", title="L2", grid={"alpha": (0.003, 0.01, 0.03, 0.1)})
def l2(pair: Pair, alpha: float) -> L2:
    """Weight decay."""
    return L2(pair.student, alpha=alpha)


@METHODS.method(
    "l2sp",
    title="L2-SP",
    grid={"alpha": (0.0001, 0.001, 0.01, 0.1)},
    needs={"same_architecture"},
)
def l2sp(pair: Pair, alpha: float) -> L2SP:
    """Weight decay towards the start."""
    return L2SP(pair.student, pair.start, head=pair.head, alpha=alpha, beta=pair.head_beta)


def _transport(
    pair: Pair, alpha: float, kind: Literal["optimal", "identity", "uniform"]
) -> RepresentationTransport:
    return RepresentationTransport(
        pair.watch,
        layers=pair.layers,
        alpha=alpha,
        kind=kind,
        spatial=pair.spatial,
        normalize=pair.normalize,
        solver=pair.solver,
        max_iter=pair.solver_max_iter if pair.solver == "ipot" else None,
        solver_device=None if show_config()["cuda_available"] else "cpu",
    )


@METHODS.method(
    "identity",
    title="identity transport",
    grid={"alpha": (0.003, 0.01, 0.03, 0.1)},
    needs={"same_width"},
)
def identity(pair: Pair, alpha: float) -> RepresentationTransport:
    """Each neuron near the one of its place."""
    return _transport(pair, alpha, "identity")


@METHODS.method("uniform", title="uniform transport", grid={"alpha": (0.01, 0.03, 0.1, 0.3)})
def uniform(pair: Pair, alpha: float) -> RepresentationTransport:
    """Each neuron near all."""
    return _transport(pair, alpha, "uniform")


@METHODS.method("optimal", title="optimal transport", grid={"alpha": (0.003, 0.01, 0.03, 0.1)})
def optimal(pair: Pair, alpha: float) -> RepresentationTransport:
    """Each neuron near the one that an optimal plan gives it."""
    return _transport(pair, alpha, "optimal")


@METHODS.method(
    "kd",
    title="knowledge distillation",
    grid={"alpha": (0.3, 1, 3, 10)},
    needs={"same_labels"},
    optional=("temperature",),
)
def kd(pair: Pair, alpha: float, temperature: float | None = None) -> KnowledgeDistillation:
    """The class probabilities near the teacher's."""
    return KnowledgeDistillation(
        pair.watch,
        temperature=pair.temperature if temperature is None else temperature,
        scaled=pair.temperature_squared,
        alpha=alpha,
    )


@METHODS.method("fitnet", title="FitNet", grid={"alpha": (0.1, 0.3, 1, 3)})
def fitnet(pair: Pair, alpha: float) -> FitNet:
    """Features, through a trained regressor, near the teacher's."""
    return FitNet(pair.watch, layers=pair.layers, example=pair.example, alpha=alpha)


@METHODS.method("compressed", title="compressed first", needs={"compressed_start"})
def compressed(pair: Pair) -> None:
    """No penalty, but a start that a teacher has taught the source task."""


@METHODS.method("bss", title="BSS", grid={"alpha": (0.0001, 0.001, 0.01)})
def bss(pair: Pair, alpha: float) -> BSS:
    """The weakest direction of the features shrunk."""
    return BSS(pair.watch, layers=pair.layers, alpha=alpha)


@METHODS.method("delta", title="DELTA", grid={"alpha": (0.0001, 0.001, 0.01)}, needs={"same_width"})
def delta(pair: Pair, alpha: float) -> DELTA:
    """Feature maps near the teacher's, every channel with the same attention."""
    return _delta(pair, alpha)


@METHODS.method(
    "delta_attention",
    title="DELTA, attention",
    grid={"alpha": (0.0001, 0.001, 0.01)},
    needs={"same_width"},
)
def delta_attention(pair: Pair, alpha: float) -> DELTA:
    """The same, with attention to the channels that the source network's fit to the target needs."""
    batches = [(images, labels) for images, labels in islice(pair.labelled, ATTENTION_BATCHES)]
    fitted = with_fitted_head(pair.teacher, pair.teacher_head, pair.outputs, batches, pair.loss)
    attention = channel_attention(fitted, batches, layers=pair.layers, loss=pair.loss)
    return _delta(pair, alpha, attention=attention)


def _delta(pair: Pair, alpha: float, **options: Any) -> DELTA:
    return DELTA(
        pair.watch, layers=pair.layers, head=pair.head, alpha=alpha, beta=pair.head_beta, **options
    )


def _filters(pair: Pair, alpha: float, **options: Any) -> FilterWasserstein:
    assert pair.prior is not None
    return FilterWasserstein(
        pair.student, pair.prior, alpha=alpha, layer_weights="scale", **options
    )


@METHODS.method(
    "filters", title="W1 of kernels, exact", grid={"alpha": (0.01, 0.1, 1.0)}, needs={"prior"}
)
def filters(pair: Pair, alpha: float) -> FilterWasserstein:
    """The kernels of every layer near those of source networks, by exact transport."""
    return _filters(pair, alpha)


@METHODS.method(
    "filters_critics",
    title="W1 of kernels, critics",
    grid={"alpha": (0.01, 0.1, 1.0)},
    needs={"prior"},
)
def filters_critics(pair: Pair, alpha: float) -> FilterWasserstein:
    """The same, by a critic for every layer."""
    return _filters(pair, alpha, critics=MinMaxTree)
