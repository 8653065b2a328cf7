"""Costs between the classes of two tasks: estimated from examples, kept in files, told as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from kantorch.drivers.cost_file import CostFile, write_cost
from kantorch.regularizers import label_cost
from kantorch.training.batches import evaluation_loader
from kantorch.training.records import is_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from torch import Tensor

    from kantorch.training.batches import Examples
    from kantorch.training.tasks import Tasks


class ClassCosts:
    """Costs of moving from source classes (rows) to target classes (columns).

    Args:
        tasks: Both tasks.
    """

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self.names = tasks.names("source"), tasks.names("target")

    def estimate(
        self,
        kind: Any,
        features: Callable[[Tensor], Tensor] | None,
        seed: int,
        renewal: int = 0,
    ) -> Tensor:
        """Estimate them from the source's training examples and the seed's labelled target examples.

        Args:
            kind: A method of `kantorch.regularizers.label_cost`.
            features: What is compared, as a function of images. None: the images themselves.
            seed: Of the target examples and of what the estimate draws.
            renewal: Which estimate of a training it is, from 0.
        """
        source, target = self.tasks.source().train, self.tasks.target(seed).train
        key = int(np.random.default_rng([seed, renewal, 5]).integers(2**62))
        generator = torch.Generator().manual_seed(key)
        (x, of_x), (y, of_y) = (_features(part, features) for part in (source, target))
        return label_cost(x, of_x, y, of_y, method=kind, generator=generator)

    def write(self, path: Path, cost: Tensor) -> None:
        """Write them with the names of the classes."""
        write_cost(path, cost, *self.names)

    def read(self, path: Path | str) -> Tensor:
        """Read them from a file that names the classes.

        Raises:
            RunError: If the file does not hold them.
        """
        return CostFile(str(path)).read(*self.names)

    def faults(self, record: Mapping[str, Any]) -> Iterable[str]:
        """Say what is wrong with costs in a record."""
        rows, columns = map(len, self.names)
        cost = np.array(record.get("cost"), dtype=object)
        if cost.shape != (rows, columns) or not all(map(is_number, cost.flat)):
            yield f"cost must hold {rows} x {columns} finite numbers"

    def table(self, costs: Any) -> pd.DataFrame:
        """The mean of several (k, rows, columns), with names."""
        return pd.DataFrame(np.mean(costs, 0), *self.names)


def _features(part: Examples, features: Callable[[Tensor], Tensor] | None) -> tuple[Tensor, Tensor]:
    found, labels = [], []
    with torch.no_grad():
        for images, of_images in evaluation_loader(part):
            found.append(images.flatten(1) if features is None else features(images))
            labels.append(of_images)
    return torch.cat(found), torch.cat(labels)
