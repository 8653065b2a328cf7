"""What trials and the test leave, checked when it is read back.

A run goes on from files that may be years old, half copied or edited; none of their numbers gets
into a table unseen.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import torch

from kantorch.training.errors import RunError
from kantorch.training.files import read_json, read_tensors, system_path
from kantorch.training.folder import RECORD, WEIGHTS
from kantorch.training.ranks import first_decides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    Faults = Callable[[Mapping[str, Any]], Iterable[str]]
    Select = Callable[[Mapping[str, Any]], dict[str, Any]]


FAILED = "failed"  # of a record: why there is no other


def read_record(
    folder: Path, trial: str, faults: Faults, *, tolerant: bool = False
) -> dict[str, Any] | None:
    """Return what a finished trial left, or None if it has not finished.

    Args:
        folder: The trial's.
        trial: Its name.
        faults: Says what is wrong with the driver's part of the record.
        tolerant: Whether the trial may have failed; its record then holds the reason.

    Raises:
        RunError: If the file cannot be read, or is not what the trial writes; the message names the
            file and the entry.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    record = read_json(path)
    failed = tolerant and isinstance(record.get(FAILED), str)
    for fault in (*_faults(record, trial), *(() if failed else faults(record))):
        msg = f"{path} is damaged: {fault}; delete it to compute it again"
        raise RunError(msg)
    return record


def _faults(record: Mapping[str, Any], trial: str) -> Iterable[str]:
    if record.get("trial") != trial:
        yield f"trial must be {trial!r}, got {record.get('trial')!r}"
    seconds = record.get("seconds")
    if not is_number(seconds) or seconds < 0:
        yield f"seconds must be a number >= 0, got {seconds!r}"


def _safetensors(path: Path, cure: str) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file

        return dict(load_file(path))
    except ModuleNotFoundError as error:
        msg = f"{path} needs {error.name}, which is not installed: pip install safetensors"
        raise RunError(msg) from error
    except Exception as error:  # whatever a broken file makes it raise
        msg = f"cannot read weights {path}: {type(error).__name__}: {error}; {cure}"
        raise RunError(msg) from error


# What common trainers call the weights within a file of theirs.
WRAPPERS = "state_dict", "model", "model_state_dict"
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Weights:
    """A file of weights.

    Attributes:
        path: Where it is.
        cure: What is to be done if it is damaged, for the message.
    """

    path: Path
    cure: str

    @classmethod
    def of(cls, folder: Path) -> Weights:
        """Those that a trial left in its folder."""
        return cls(folder / WEIGHTS, f"delete {folder / RECORD} to train again")

    @classmethod
    def given(cls, setting: str, name: str) -> Weights:
        """Those in a file that a setting names."""
        return cls(system_path(name), f"choose another {setting}")

    def load_into(self, network: nn.Module) -> None:
        """Give the weights to a network.

        Raises:
            RunError: If the file cannot be read, or does not fit the network.
        """
        network.load_state_dict(first_decides(lambda: self._read(network.state_dict())))

    def outputs(self, head: str) -> int | None:
        """How many outputs the network has whose weights these are; None: they do not tell.

        Raises:
            RunError: If the file cannot be read.
        """

        def rows() -> int | None:
            weight = self._tensors().get(f"{head}.weight")
            return len(weight) if isinstance(weight, torch.Tensor) and weight.ndim == 2 else None

        return first_decides(rows)

    def load_trunk_into(self, network: nn.Module, head: str) -> None:
        """Give the weights to a network, all but those of its head.

        Raises:
            RunError: If the file cannot be read, or does not fit the rest of the network.
        """

        def trunk(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: w for name, w in state.items() if not name.startswith(f"{head}.")}

        wanted = trunk(network.state_dict())
        weights = first_decides(lambda: self._read(wanted, trunk))
        network.load_state_dict(weights, strict=False)

    def _tensors(self) -> dict[str, Any]:
        """What the file holds, without what trainers put around it."""
        if self.path.suffix == ".safetensors":
            content = _safetensors(self.path, self.cure)
        else:
            content = read_tensors(self.path, cure=self.cure)
        for key in WRAPPERS:
            if isinstance(content.get(key), Mapping):
                content = dict(content[key])
        return {name.removeprefix("module."): tensor for name, tensor in content.items()}

    def _read(self, wanted: Mapping[str, Tensor], select: Select = dict) -> dict[str, Tensor]:
        weights = select(self._tensors())
        for name, tensor in wanted.items():
            if name.endswith(COUNTER):  # which files from before torch 0.4.1 lack
                weights.setdefault(name, torch.zeros_like(tensor))
        for name in dict.fromkeys([*wanted, *weights]):
            found = weights.get(name)
            if name not in wanted:
                fault = f"it holds {name!r}, which the network has not"
            elif not isinstance(found, torch.Tensor) or found.shape != wanted[name].shape:
                shape = tuple(wanted[name].shape)
                got = (
                    tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
                )
                fault = f"{name} must be a tensor of shape {shape}, got {got}"
            elif not found.isfinite().all():
                fault = f"{name} must be finite"
            else:
                continue
            msg = f"{self.path} is damaged or of another network: {fault}; {self.cure}"
            raise RunError(msg)
        return weights


def read_test(path: Path, names: Sequence[str], least: float) -> dict[str, float] | None:
    """Return the test's number for each trial by its name, or None if nothing was tested.

    Args:
        path: The file.
        names: Of the trials.
        least: See `is_share`.

    Raises:
        RunError: If the file cannot be read, holds other trials, or something else than numbers.
    """
    if not path.exists():
        return None
    known = read_json(path)
    cure = "delete it to test again"
    if set(known) != set(names):
        msg = f"{path} does not fit what was chosen; {cure}"
        raise RunError(msg)
    for name, value in known.items():
        if not is_share(value, least):
            rule = f"a number in [{least:g}, 1]"
            msg = f"{path} is damaged: {name} must be {rule}, got {value!r}; {cure}"
            raise RunError(msg)
    return {name: float(value) for name, value in known.items()}


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of a JSON file is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max


def is_share(value: object, least: float = 0.0) -> TypeGuard[float]:
    """Whether a value is a share of the best: an accuracy, or R^2, which may be below 0."""
    return is_number(value) and least <= value <= 1
