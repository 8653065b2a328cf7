"""How far the classes of two tasks are apart, measured between the features of their examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from kantorch._check import require_choice, require_finite
from kantorch._solve import solve_sample
from kantorch.costs import cost_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

Method = Literal["mkmmd", "ot"]
Normalize = Literal["max", "median"]
Kernels = Literal["shared", "pairwise"]

# Widths of the Gaussian kernels around the median squared distance: 2^-8, 2^-7.5, ..., 2^8.
_WIDTHS = tuple(2.0 ** (j / 2) for j in range(-16, 17))
# What keeps the quadratic programme strictly convex, relative to the mean of its diagonal.
_RIDGE = 1e-3


def label_cost(
    source: Tensor,
    source_labels: Tensor,
    target: Tensor,
    target_labels: Tensor,
    *,
    method: Method = "mkmmd",
    reg: float | None = None,
    kernels: Kernels = "shared",
    normalize: Normalize | None = "max",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Costs between source classes and target classes, for `LabelTransport`.

    Features come from any fixed network, or are the data themselves; they are computed once.

    Args:
        source: (n, d) features of source examples, finite.
        source_labels: (n,) integers; every class from 0 to the largest must have two examples.
        target: (m, d) features of target examples.
        target_labels: (m,) integers, likewise.
        method: "mkmmd": the squared distance of mean embeddings, by the unbiased estimator over
            disjoint quadruples of examples, whose time is linear in their number. It may be
            negative. "ot": transport between the examples of the classes, equally weighted, with
            squared Euclidean costs.
        reg: For "ot" alone, the strength of the entropy in the unit of the squared distances; what is
            measured is then <P, C> of that plan. None: without entropy, exact.
        kernels: For "mkmmd": one combination of the 33 Gaussian kernels for the whole matrix
            ("shared"), so that its entries can be compared, or one for each pair of classes. It is
            the convex combination whose estimates vary least for the distance that they find.
        normalize: Divide by the largest size of an entry ("max") or the median size ("median"), so
            that strengths do not depend on the scale of the features. None: as it is.
        generator: Draws the quadruples.

    Returns:
        (source classes, target classes), float64, on the CPU.

    Raises:
        ValueError: If an argument is out of range, shapes differ, features are not finite, or a
            class has fewer than two examples (it is named).
        ImportError: For "mkmmd", if SciPy is missing; it comes with the extra `train`.

    Source:
        Lu, Chen, Saidi: Optimal transport for deep joint transfer learning, eqs. 12 to 14 (MK-MMD,
        where the distance is the squared one) and 16 (OT). Gretton et al.: Optimal kernel choice
        for large-scale two-sample tests, NeurIPS 2012 (the quadratic programme). Long et al.:
        Learning transferable features with deep adaptation networks, ICML 2015 (the kernels).

    Example:
        >>> import torch
        >>> from kantorch.regularizers import label_cost
        >>> source, target = torch.tensor([[0.0], [0], [4], [4]]), torch.tensor([[1.0], [1]])
        >>> labels = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0])
        >>> label_cost(source, labels[0], target, labels[1], method="ot", normalize=None)
        tensor([[1.],
                [9.]], dtype=torch.float64)
    """
    require_choice("method", method, get_args(Method))
    require_choice("kernels", kernels, get_args(Kernels))
    if method != "ot" and reg is not None:
        msg = f"reg belongs to method 'ot', and method is {method!r}: drop one of them"
        raise ValueError(msg)
    if normalize is not None:
        require_choice("normalize", normalize, get_args(Normalize))
    of_source = _classes("source", source, source_labels)
    of_target = _classes("target", target, target_labels)
    if source.shape[1] != target.shape[1]:
        msg = (
            "source and target must have features of the same dimension, got shapes "
            f"{tuple(source.shape)} and {tuple(target.shape)}"
        )
        raise ValueError(msg)
    with torch.no_grad():
        if method == "ot":
            cost = _transport(of_source, of_target, reg)
        else:
            cost = _mkmmd(of_source, of_target, kernels, generator)
    if normalize is None:
        return cost
    scale = cost.abs().max() if normalize == "max" else cost.abs().median()
    return cost / scale if scale > 0 else cost


def _classes(name: str, features: Tensor, labels: Tensor) -> list[Tensor]:
    """The features of each class, in float64 on the CPU."""
    if features.ndim != 2 or labels.shape != features.shape[:1] or features.numel() == 0:
        msg = (
            f"{name} must be features (n, d) with labels (n,), got shapes "
            f"{tuple(features.shape)} and {tuple(labels.shape)}"
        )
        raise ValueError(msg)
    if labels.is_floating_point() or labels.min() < 0:
        msg = f"{name}_labels must be integers >= 0, got {labels.dtype} from {labels.min().item()}"
        raise ValueError(msg)
    require_finite(name, features)
    features, labels = features.detach().double().cpu(), labels.cpu()
    found = [features[labels == k] for k in range(int(labels.max()) + 1)]
    for k, examples in enumerate(found):
        if len(examples) < 2:
            msg = f"every class of {name} must have two examples, got {len(examples)} of class {k}"
            raise ValueError(msg)
    return found


def _transport(source: Sequence[Tensor], target: Sequence[Tensor], reg: float | None) -> Tensor:
    """<P, C> for each pair of classes, all in one batch: classes are padded with points of mass 0."""
    (x, a), (y, b) = _padded(source), _padded(target)
    rows, columns = len(x), len(y)
    pairs = torch.cartesian_prod(
        *[torch.arange(count, device=x.device) for count in (rows, columns)]
    )
    i, j = pairs.unbind(1)
    result = solve_sample(x[i], y[j], a[i], b[j], reg=reg, metric="sqeuclidean")
    result.check()
    value = result.value if reg is None else result.value_linear
    return value.reshape(rows, columns)


def _padded(classes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    most = max(len(examples) for examples in classes)
    points, weights = [], []
    for examples in classes:
        n = len(examples)
        points.append(torch.cat([examples, examples[:1].expand(most - n, -1)]))
        weights.append((torch.arange(most, device=examples.device) < n).double() / n)
    return torch.stack(points), torch.stack(weights)


def _mkmmd(
    source: Sequence[Tensor],
    target: Sequence[Tensor],
    kernels: Kernels,
    generator: torch.Generator | None,
) -> Tensor:
    width = _median_squared_distance(torch.cat([*source, *target]))
    # (source classes, target classes, kernels) and, with kernels twice, their covariances.
    means, covariances = [], []
    for x in source:
        for y in target:
            g = _quadruples(x, y, width, generator)
            means.append(g.mean(0))
            # Differences of neighbours have twice the variance, whatever the mean.
            pairs = g[: len(g) // 2 * 2].reshape(-1, 2, g.shape[1])
            change = pairs[:, 0] - pairs[:, 1]
            covariances.append(change.T @ change / max(len(change), 1))
    d, q = torch.stack(means), torch.stack(covariances)
    if kernels == "shared":
        cost = d @ _combination(d.mean(0), q.mean(0))
    else:
        cost = torch.stack([dk @ _combination(dk, qk) for dk, qk in zip(d, q, strict=True)])
    return cost.reshape(len(source), len(target))


def _median_squared_distance(points: Tensor, most: int = 2000) -> float:
    spaced = points[:: -(-len(points) // most)]
    squared = cost_matrix(spaced, spaced)
    above = squared[torch.triu_indices(len(spaced), len(spaced), 1, device=squared.device).unbind()]
    median = above.median().item()
    # Where most points coincide, the others decide; where all do, any width does.
    positive = above[above > 0]
    if median > 0 or not len(positive):
        return median or 1.0
    return positive.median().item()


def _quadruples(x: Tensor, y: Tensor, width: float, generator: torch.Generator | None) -> Tensor:
    """G of eq. 14 for disjoint quadruples of two examples each, (quadruples, kernels)."""
    count = min(len(x), len(y)) // 2
    x, y = (
        z[torch.randperm(len(z), generator=generator, device=z.device)[: 2 * count]].reshape(
            count, 2, -1
        )
        for z in (x, y)
    )

    def kernel(u: Tensor, v: Tensor) -> Tensor:
        squared = (u - v).square().sum(1) / width
        return torch.stack([(-squared / factor).exp() for factor in _WIDTHS], 1)

    within = kernel(x[:, 0], x[:, 1]) + kernel(y[:, 0], y[:, 1])
    return within - kernel(x[:, 0], y[:, 1]) - kernel(x[:, 1], y[:, 0])


def _combination(d: Tensor, q: Tensor) -> Tensor:
    """The weights b >= 0, of sum 1, that minimise b' (Q + ridge) b for a fixed d' b > 0.

    The same weights but for a factor minimise b' Q b / 2 - d' b over b >= 0, which with Q = R' R is
    the least-squares problem |R b - R'^-1 d|. Where no kernel finds a distance, the one that finds
    the largest for its variance, or the least negative, stands alone.
    """
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        msg = 'method="mkmmd" needs SciPy: pip install "kantorch[train]"'
        raise ImportError(msg) from error
    variance = q.diagonal()
    scale = variance.mean()
    q = q + torch.eye(len(d), dtype=d.dtype, device=d.device) * (
        _RIDGE * scale if scale > 0 else 1.0
    )
    if not (d > 0).any():
        return torch.nn.functional.one_hot((d / q.diagonal()).argmax(), len(d)).to(d)
    root = torch.linalg.cholesky(q).T
    right = torch.linalg.solve_triangular(root.T, d[:, None], upper=False)[:, 0]
    weights = torch.from_numpy(nnls(root.numpy(), right.numpy())[0])
    return weights / weights.sum()
