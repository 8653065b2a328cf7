"""Sums whose bits depend on the numbers alone: torch's own change with strides and with its threads."""

from __future__ import annotations

from torch import Tensor

# A single sum of 2**15 numbers and more is shared out to torch's threads.
_SERIAL = 2**14

# Of fewer columns than this, torch's sums down the columns change with the threads that share them.
_NARROW = 512


def total(values: Tensor) -> Tensor:
    """The sums (..) of (.., n)."""
    values = values.contiguous()
    size = values.shape[-1]
    if size <= _SERIAL:
        return values.sum(-1)
    count = size // _SERIAL
    whole = values[..., : count * _SERIAL].reshape(*values.shape[:-1], count, _SERIAL)
    return total(whole.sum(-1)) + values[..., count * _SERIAL :].sum(-1)


def column_totals(values: Tensor) -> Tensor:
    """The sums (.., m) down the columns of (.., n, m)."""
    return total(values.mT) if values.shape[-1] < _NARROW else values.contiguous().sum(-2)


def less_mean(values: Tensor) -> Tensor:
    """The numbers (.., n) less their mean: of a derivative along masses, its part that keeps the mass."""
    return values - total(values)[..., None] / values.shape[-1]
