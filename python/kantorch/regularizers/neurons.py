"""Neurons as vectors: the activations of a layer over a batch, and the distances between neurons.

A representation is a set of neurons, each summarised by its activations on the examples of the
mini-batch; two representations of the same examples are compared neuron by neuron.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import torch

from kantorch._check import require_channel_dim, require_choice
from kantorch.costs import cost_matrix
from kantorch.regularizers import _processes

if TYPE_CHECKING:
    from torch import Tensor

Spatial = Literal["mean", "flatten"]


def neurons(features: Tensor, *, spatial: Spatial = "mean", channel_dim: int = 1) -> Tensor:
    """Arrange the activations of a layer as one row per neuron.

    Args:
        features: Activations (n, d) or (n, d, *space) of a batch of n examples, floating; float16
            and bfloat16 are converted to float32, with gradient.
        spatial: What a neuron of a feature map is. "mean": its spatial mean per example, n columns.
            "flatten": every position is a column, n x space columns.
        channel_dim: The dimension that holds the neurons, not 0. -1 for transformers, whose
            activations are (n, tokens, d).

    Returns:
        The matrix A (d, columns), connected to the graph of `features`.

    Raises:
        TypeError: If `features` is not a floating tensor.
        ValueError: If `features` has fewer than two dimensions, is empty, or `channel_dim` is out
            of range.

    Source:
        Li, Grandvalet, Flamary, Courty, Dou: Representation Transfer by Optimal Transport,
        section 2.2. The paper leaves feature maps open; both readings are offered.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import neurons
        >>> neurons(torch.zeros(8, 3, 5, 5)).shape
        torch.Size([3, 8])
        >>> neurons(torch.zeros(8, 3, 5, 5), spatial="flatten").shape
        torch.Size([3, 200])
    """
    require_choice("spatial", spatial, get_args(Spatial))
    if not isinstance(features, torch.Tensor) or not features.is_floating_point():
        kind = features.dtype if isinstance(features, torch.Tensor) else type(features).__name__
        msg = f"features must be a floating tensor, got {kind}"
        raise TypeError(msg)
    if features.ndim < 2 or features.numel() == 0:
        msg = f"features must have shape (n, d, ...) and not be empty, got {tuple(features.shape)}"
        raise ValueError(msg)
    require_channel_dim("features", features.shape, channel_dim)
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    by_channel = features.movedim(channel_dim, 0)
    if features.ndim == 2:
        return by_channel
    by_position = by_channel.flatten(2)
    return by_position.mean(dim=2) if spatial == "mean" else by_position.flatten(1)


def neuron_cost(
    student: Tensor,
    teacher: Tensor,
    *,
    spatial: Spatial = "mean",
    channel_dim: int = 1,
    normalize: bool = False,
    device: torch.device | str | None = None,
    across_processes: bool = False,
) -> Tensor:
    """Distances between the neurons of two representations: M_ij = ||A_i - T_j||_2.

    The distance is neither squared nor divided by the number of examples, so its scale, and that of
    a good regularization strength, grows with the square root of the batch size. A distance of zero
    has the subgradient zero: fine-tuning starts there.

    Args:
        student: Activations (n, d) or (n, d, *space) of the trained network; float16 and bfloat16
            are computed in float32.
        teacher: Activations (n, d') or (n, d', *space) of the reference, for the same n examples.
        spatial: See `neurons`.
        channel_dim: See `neurons`.
        normalize: Divide M by the square root of the number of columns of A: the root mean square
            over the batch instead of the norm, which does not depend on the batch size.
        device: Where M is computed, and lies. None: where the activations are.
        across_processes: Whether the examples are those of all processes of torch.distributed, each
            of which gives its own; then all must call it together. The gradient is that of the sum
            of what the processes make of M: averaged over them, as DistributedDataParallel does, it
            is that of one process with all examples.

    Returns:
        The cost matrix M (d, d'), differentiable with respect to `student` and `teacher`.

    Raises:
        TypeError: If an argument is not a floating tensor.
        ValueError: If the two hold different numbers of examples (or, with "flatten", positions).

    Source:
        Li et al.: Representation Transfer by Optimal Transport, eq. 3; `normalize` is the
        expectation of section 2.1.

    Example:
        >>> import torch
        >>> from kantorch.regularizers import neuron_cost
        >>> A, T = torch.zeros(4, 2), torch.ones(4, 3)
        >>> neuron_cost(A, T)
        tensor([[2., 2., 2.],
                [2., 2., 2.]])
    """
    rows = neurons(student, spatial=spatial, channel_dim=channel_dim)
    reference = neurons(teacher, spatial=spatial, channel_dim=channel_dim)
    if rows.shape[1] != reference.shape[1] or student.shape[0] != teacher.shape[0]:
        msg = (
            "student and teacher features must hold the same examples and positions, got shapes "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
        raise ValueError(msg)
    # Low precision would lose the small distances, which decide the plan.
    with torch.autocast(device_type=rows.device.type, enabled=False):
        dtype = torch.promote_types(rows.dtype, reference.dtype)
        rows = rows.to(device=device, dtype=dtype)
        columns = rows.shape[1]
        if across_processes:
            cost = _root(_processes.total(cost_matrix(rows, reference.to(rows))))
            columns = _processes.count(columns, cost.device)
        else:
            cost = cost_matrix(rows, reference.to(rows), metric="euclidean")
        return cost / math.sqrt(columns) if normalize else cost


def _root(squared: Tensor) -> Tensor:
    """The square root, with the subgradient 0 at 0."""
    positive = squared > 0
    return torch.where(positive, torch.where(positive, squared, 1).sqrt(), 0)
