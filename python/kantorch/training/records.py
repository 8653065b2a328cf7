"""What a finished training and the test leave, checked when it is read back.

A run goes on from files that may be years old, half copied or edited; none of their numbers gets
into a table unseen.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import torch

from kantorch.training.errors import RunError
from kantorch.training.files import read_json, read_tensors
from kantorch.training.folder import RECORD, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor, nn

ACCURACIES = ("validation_accuracy",)


@dataclass(frozen=True)
class Expected:
    """What the record of a training must hold.

    Attributes:
        trial: Its name.
        steps: Its steps, in so many equal rounds as `rounds` says.
        rounds: Rows of the history.
        terms: Numbers of each row, besides the step.
        layers: Those with a trace per step.
    """

    trial: str
    steps: int
    rounds: int
    terms: tuple[str, ...]
    layers: tuple[str, ...] = ()


def read_record(folder: Path, expected: Expected) -> dict[str, Any] | None:
    """Return what a finished training left, or None if it has not finished.

    Raises:
        RunError: If the file cannot be read, or is not what the training writes; the message names
            the file and the entry.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    record = read_json(path)
    for fault in _faults(record, expected):
        msg = f"{path} is damaged: {fault}; delete it to train again"
        raise RunError(msg)
    return record


def read_weights(folder: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read the weights that a finished training left for a network.

    Raises:
        RunError: If the file cannot be read, or does not fit the network; the message names the
            record without which the training is repeated.
    """
    path = folder / WEIGHTS
    cure = f"delete {folder / RECORD} to train again"
    weights = read_tensors(path, cure=cure)
    wanted = network.state_dict()
    for name in dict.fromkeys([*wanted, *weights]):
        found = weights.get(name)
        if name not in wanted:
            fault = f"it holds {name!r}, which the network has not"
        elif not isinstance(found, torch.Tensor) or found.shape != wanted[name].shape:
            shape = tuple(wanted[name].shape)
            got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            fault = f"{name} must be a tensor of shape {shape}, got {got}"
        elif not found.isfinite().all():
            fault = f"{name} must be finite"
        else:
            continue
        msg = f"{path} is damaged: {fault}; {cure}"
        raise RunError(msg)
    return weights


def read_accuracies(path: Path, names: Iterable[str]) -> dict[str, float] | None:
    """Return the test accuracy of each trial by its name, or None if nothing was tested.

    Raises:
        RunError: If the file cannot be read, holds other trials, or no accuracies.
    """
    if not path.exists():
        return None
    known = read_json(path)
    cure = "delete it to test again"
    if set(known) != set(names):
        msg = f"{path} does not fit the chosen strengths; {cure}"
        raise RunError(msg)
    for name, value in known.items():
        if not _is_share(value):
            msg = f"{path} is damaged: {name} must be a number in [0, 1], got {value!r}; {cure}"
            raise RunError(msg)
    return {name: float(value) for name, value in known.items()}


def _faults(record: dict[str, Any], expected: Expected) -> Iterable[str]:
    """Say what is wrong with a record, the first fault first."""
    if record.get("trial") != expected.trial:
        yield f"trial must be {expected.trial!r}, got {record.get('trial')!r}"
    seconds = record.get("seconds")
    if not _is_number(seconds) or seconds < 0:
        yield f"seconds must be a number >= 0, got {seconds!r}"
    history = record.get("history")
    if not isinstance(history, list) or len(history) != expected.rounds:
        yield f"history must hold {expected.rounds} rounds"
        return
    for place, row in enumerate(history):
        if not isinstance(row, dict):
            yield f"history[{place}] must hold numbers by name, got {row!r}"
            return
        step = expected.steps // expected.rounds * (place + 1)
        if not _is_number(row.get("step")) or row["step"] != step:
            yield f"history[{place}].step must be {step}, got {row.get('step')!r}"
        for term in expected.terms:
            valid = _is_share if term in ACCURACIES else _is_number
            if not valid(row.get(term)):
                rule = "a number in [0, 1]" if term in ACCURACIES else "a finite number"
                yield f"history[{place}].{term} must be {rule}, got {row.get(term)!r}"
    yield from _trace_faults(record.get("traces"), expected)


def _trace_faults(traces: object, expected: Expected) -> Iterable[str]:
    if not isinstance(traces, dict) or set(traces) != set(expected.layers):
        yield f"traces must hold the layers {list(expected.layers)}"
        return
    for layer, steps in traces.items():
        valid = isinstance(steps, list) and len(steps) == expected.steps
        if not valid or not all(map(_is_number, steps)):
            yield f"traces.{layer} must hold {expected.steps} finite numbers"


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max


def _is_share(value: object) -> TypeGuard[float]:
    return _is_number(value) and 0 <= value <= 1
