"""A string is no sequence of names: it would be read letter by letter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kantorch.regularizers import (
    BSS,
    DELTA,
    L2SP,
    FitNet,
    KernelPrior,
    RepresentationTransport,
    channel_attention,
)


def numbered():
    """Layers "0" to "12", of which "12" can be read as "1" and "2"."""
    return nn.Sequential(*[nn.Linear(4, 4) for _ in range(13)])


BATCH = torch.zeros(2, 4), torch.zeros(2, dtype=torch.long)
TAKERS = {
    "DELTA's head": lambda names: DELTA(numbered(), layers=["0"], head=names),
    "L2SP's head": lambda names: L2SP(numbered(), head=names),
    "KernelPrior": lambda names: KernelPrior.from_models([numbered()], layers=names),
    "BSS": lambda names: BSS(numbered(), layers=names),
    "DELTA": lambda names: DELTA(numbered(), layers=names),
    "FitNet": lambda names: FitNet(numbered(), layers=names, example=BATCH[0]),
    "transport": lambda names: RepresentationTransport(numbered(), layers=names),
    "attention": lambda names: channel_attention(numbered(), [BATCH], layers=names),
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_a_string_is_no_sequence_of_names(take):
    with pytest.raises(ValueError, match=r"must be a .*sequence of .*names, got .*'12'"):
        take("12")
    take(["12"])


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_what_is_no_name_is_refused(take):
    with pytest.raises(ValueError, match=r"must hold names.* (got|is) 12"):
        take([12])
