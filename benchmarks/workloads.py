"""The problems that the benchmarks race on; every one made from a fixed seed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def _cost(x: np.ndarray, y: np.ndarray, *, squared: bool) -> np.ndarray:
    difference = torch.cdist(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    return difference**2 if squared else difference


def _weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    weights = rng.random(shape) + 1e-3
    return weights / weights.sum(-1, keepdims=True)


def clouds(n: int, m: int | None = None, *, d: int = 2, batch: int | None = None, seed: int = 0):
    """Random weights, squared Euclidean cost of uniform points: (cost, a, b), float64 arrays."""
    rng = np.random.default_rng(seed)
    lead = () if batch is None else (batch,)
    m = n if m is None else m
    cost = _cost(rng.random((*lead, n, d)), rng.random((*lead, m, d)), squared=True)
    return cost, _weights(rng, *lead, n), _weights(rng, *lead, m)


def neurons(n: int, *, d: int = 64, seed: int = 0):
    """Uniform weights, Euclidean cost of Gaussian points in d dimensions."""
    rng = np.random.default_rng(seed)
    cost = _cost(rng.normal(size=(n, d)), rng.normal(size=(n, d)), squared=False)
    return cost, np.full(n, 1 / n), np.full(n, 1 / n)


def uniform_clouds(n: int, *, seed: int = 0):
    """Uniform weights, squared Euclidean cost of points in the plane."""
    cost, _, _ = clouds(n, seed=seed)
    return cost, np.full(n, 1 / n), np.full(n, 1 / n)


def grids(side: int = 32, *, seed: int = 0):
    """Two random images on one grid: squared Euclidean cost, ties everywhere."""
    rng = np.random.default_rng(seed)
    axis = np.arange(side, dtype=float)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return _cost(points, points, squared=True), _weights(rng, side**2), _weights(rng, side**2)


def points(n: int, *, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two uniform clouds in the cube, float32."""
    rng = np.random.default_rng(seed)
    return tensors(rng.random((n, d)), rng.random((n, d)), dtype=torch.float32)


def tensors(*arrays: np.ndarray, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """The arrays as tensors."""
    return tuple(torch.from_numpy(array).to(dtype) for array in arrays)
