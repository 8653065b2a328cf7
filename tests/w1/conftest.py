"""The same random numbers in every test, and one thread: the problems are too small for more."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed_and_one_thread(threads):
    torch.manual_seed(0)
    torch.set_num_threads(1)
