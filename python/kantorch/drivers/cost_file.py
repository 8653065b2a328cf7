"""Costs between classes as a table that people can read and write: CSV, with the classes' names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from kantorch.training.errors import RunError
from kantorch.training.files import system_path, write_atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor


def write_cost(path: Path, cost: Tensor, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Write costs (rows, columns), all their digits, with names."""
    table = pd.DataFrame(cost.numpy(), index=rows, columns=columns)
    write_atomic(path, table.to_csv(lineterminator="\n").encode())


@dataclass(frozen=True)
class CostFile:
    """A file of costs.

    Attributes:
        name: Where it is.
    """

    name: str

    def read(self, rows: Sequence[str], columns: Sequence[str]) -> Tensor:
        """Return the costs of these classes, in this order, as float64.

        Raises:
            RunError: If the file cannot be read, lacks a class, or holds something else than finite
                numbers.
        """
        try:
            table = pd.read_csv(system_path(self.name), index_col=0, dtype=str)
        except (OSError, ValueError, pd.errors.ParserError) as error:
            msg = f"cannot read the cost {self.name}: {error}"
            raise RunError(msg) from error
        for axis, wanted, found in (
            ("rows", rows, table.index.astype(str)),
            ("columns", columns, table.columns.astype(str)),
        ):
            missing = [name for name in wanted if name not in found]
            if missing or found.has_duplicates:
                msg = (
                    f"cost {self.name} must have one of its {axis} for each of the classes "
                    f"{', '.join(wanted)}, got {', '.join(found)}"
                )
                raise RunError(msg)
        table.index, table.columns = table.index.astype(str), table.columns.astype(str)
        cost = table.loc[list(rows), list(columns)].apply(pd.to_numeric, errors="coerce")
        bad = np.argwhere(~np.isfinite(cost.to_numpy(dtype=float)))
        if len(bad):
            row, column = bad[0]
            value = table.loc[rows[row], columns[column]]
            msg = (
                f"cost {self.name} must hold finite numbers: row {rows[row]}, column "
                f"{columns[column]} is {value!r}"
            )
            raise RunError(msg)
        return torch.from_numpy(cost.to_numpy(dtype=float, copy=True))
