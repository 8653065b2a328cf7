"""Small problems whose costs, weights and points differ by as many orders as their dtype holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

Array = np.ndarray


def orders(
    rng: np.random.Generator, low: float, high: float, shape: int | tuple[int, ...] = ()
) -> Array:
    """10^u, u uniform in [low, high]."""
    return 10.0 ** rng.uniform(low, high, shape)


def ranged_cost(rng: np.random.Generator, n: int, m: int, dtype: torch.dtype) -> tuple[str, Tensor]:
    """Name of its kind and a cost (n, m), finite in the dtype."""
    single = dtype == torch.float32
    top = 37 if single else 300
    top = top if rng.random() < 0.5 else 30
    low = rng.integers(0, 20, (n, m)).astype(float)

    def some(share: float, there: Array, elsewhere: Array) -> Array:
        return np.where(rng.random((n, m)) < share, there, elsewhere)

    def rewards_and_blocks() -> Array:
        height = orders(rng, 3, top - 3)
        return some(0.3, -height * rng.random(), some(0.4, 2 * n * height, low))

    def sums() -> Array:
        f, g = (rng.choice([-1, 1], k) * orders(rng, 0, 12, k) for k in ((n, 1), (1, m)))
        return f + g + (rng.random((n, m)) < 0.7) * orders(rng, -6, 12, (n, m))

    kinds: dict[str, Callable[[], Array]] = {
        "integers": lambda: low,
        "normal": lambda: rng.normal(size=(n, m)),
        "blocked": lambda: some(0.4, orders(rng, 5, top), low),
        "blocked at many heights": lambda: some(0.4, orders(rng, 5, top, (n, m)), low),
        "blocked, tiny": lambda: some(0.3, 10.0**top, rng.random((n, m)) * orders(rng, -top, 0)),
        "levels": lambda: some(0.3, 10.0 ** rng.choice(np.arange(3, 27, 3), (n, m)), low),
        "rewards": lambda: some(0.3, -orders(rng, 3, top), low),
        "rewards and blocks": rewards_and_blocks,
        "orders": lambda: orders(rng, -top, top, (n, m)),
        "few orders": lambda: orders(rng, -8, 8, (n, m)),
        "signed": lambda: rng.choice([-1, 1], (n, m)) * orders(rng, -top / 8, top / 8, (n, m)),
        "constant": lambda: low + orders(rng, 5, 15),
        "sums": sums,
        "subnormal": lambda: low * (2e-42 if single else 5e-322),
    }
    name = str(rng.choice(list(kinds)))
    return name, torch.tensor(kinds[name](), dtype=dtype)


def ranged_weights(
    rng: np.random.Generator, n: int, m: int, dtype: torch.dtype
) -> tuple[str, tuple[Tensor, Tensor] | tuple[None, None]]:
    """Name of its kind and weights, or none."""
    top = 12 if rng.random() < 0.5 else 30 if dtype == torch.float32 else 290

    def counts() -> tuple[Array, Array]:
        a, b = (rng.integers(0, 4, k).astype(float) for k in (n, m))
        a[rng.integers(n)] += 1
        b[rng.integers(m)] += 1
        return a * b.sum(), b * a.sum()

    def many_orders() -> tuple[Array, Array]:
        a, b = (orders(rng, -top, 0, k) for k in (n, m))
        a[rng.integers(n)] = b[rng.integers(m)] = 1
        return a, b * (a.sum() / b.sum())

    def mismatched() -> tuple[Array, Array]:
        return rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m)) * (1 + rng.uniform(-9e-6, 9e-6))

    def scaled() -> tuple[Array, Array]:
        a, b = counts()
        unit = orders(rng, -top, top)
        return a * unit, b * unit

    kinds = {
        "dirichlet": lambda: (rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))),
        "counts": counts,
        "many orders": many_orders,
        "mismatched": mismatched,
        "scaled": scaled,
    }
    name = str(rng.choice(["uniform", *kinds]))
    if name == "uniform":
        return name, (None, None)
    a, b = kinds[name]()
    return name, (torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype))


def ranged_points(
    rng: np.random.Generator, n: int, m: int, dims: int, metric: str, dtype: torch.dtype
) -> tuple[str, Tensor, Tensor]:
    """Name of its kind and two clouds; most of their costs are finite in the dtype."""
    top = (37 if dtype == torch.float32 else 300) / (2.2 if metric == "sqeuclidean" else 1.1)
    shapes = (n, dims), (m, dims)
    x, y = (rng.normal(size=shape) for shape in shapes)
    height = orders(rng, -top, top)

    def far_groups(points: Array) -> Array:
        far = rng.random((len(points), 1)) < 0.3
        return np.where(far, max(height, 1) * rng.choice([-1, 1, 2], (len(points), 1)), points)

    kinds: dict[str, Callable[[Array], Array]] = {
        "normal": lambda points: points,
        "ties": lambda points: np.round(2 * points),
        "shifted": lambda points: points + 1e8,
        "scaled": lambda points: points * height,
        "orders": lambda points: points * orders(rng, -top, top, points.shape),
        "far groups": far_groups,
        "tied far groups": lambda points: far_groups(np.round(2 * points)),
        "shifted, scaled": lambda points: height * (1 + 1e-6 * points),
    }
    name = str(rng.choice(list(kinds)))
    return name, *(torch.tensor(kinds[name](points), dtype=dtype) for points in (x, y))
