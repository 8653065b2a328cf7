"""What a checkpoint carries besides Lightning's own state."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch

from kantorch.training.callbacks import GeneratorStates, WholeCheckpointIO, quiet_lightning


def draws():
    return torch.rand(3).tolist(), random.random(), np.random.rand(3).tolist()  # noqa: NPY002


def test_generators_go_on_where_the_checkpoint_was_made(tmp_path):
    io = WholeCheckpointIO()
    torch.manual_seed(1)
    random.seed(2)
    np.random.seed(3)  # noqa: NPY002
    io.save_checkpoint({"states": GeneratorStates().state_dict()}, tmp_path / "last.ckpt")
    expected = draws()
    callback = GeneratorStates()
    callback.load_state_dict(io.load_checkpoint(tmp_path / "last.ckpt")["states"])
    draws()  # setting up a trainer may draw
    callback.on_train_epoch_start(None, None)
    assert draws() == expected
    callback.on_train_epoch_start(None, None)  # the next round changes nothing
    assert draws() != expected


def test_only_lightnings_advice_is_silenced():
    with quiet_lightning():  # here every other warning is an error
        warnings.warn("The loader does not have many workers which ...", stacklevel=1)
        with pytest.raises(UserWarning, match="something else"):
            warnings.warn("something else", stacklevel=1)


def test_checkpoints_can_be_removed_twice(tmp_path):
    io = WholeCheckpointIO()
    io.save_checkpoint({"a": 1}, tmp_path / "last.ckpt")
    io.remove_checkpoint(tmp_path / "last.ckpt")
    io.remove_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_warnings_come_back_after_an_error(error):
    before = list(warnings.filters)
    with pytest.raises(error), quiet_lightning():
        raise error
    assert warnings.filters == before
