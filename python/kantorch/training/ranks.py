"""The processes that train together: the first decides, reads and writes; the others follow it.

Every process computes, but a folder has one state, and it changes while a run goes on: what two
processes read from it need not be the same, and they would wait for each other for ever.
"""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed

from kantorch.training.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def world_size() -> int:
    """Return the number of processes that train together.

    Raises:
        RunError: If the environment holds no such number.
    """
    return _variable("WORLD_SIZE", 1, least=1)


def is_writer() -> bool:
    """Tell whether this process is the one that writes files and prints."""
    return _rank() == 0


def cluster() -> tuple[int, int]:
    """Return nodes and processes per node.

    Raises:
        RunError: If the processes are not shared evenly between the nodes.
    """
    world = world_size()
    local = _variable("LOCAL_WORLD_SIZE", 1, least=1) if world > 1 else 1
    if world % local:
        msg = f"WORLD_SIZE ({world}) must be a multiple of LOCAL_WORLD_SIZE ({local})"
        raise RunError(msg)
    return world // local, local


def join() -> None:
    """Join the processes that torchrun has started, unless they are, or there is but one.

    They stay joined: left and joined again, they would meet at the addresses of the first time.

    Raises:
        RunError: If somebody else has started them; Lightning would not know them.
    """
    cluster()
    _rank()
    if world_size() == 1 or (distributed.is_available() and distributed.is_initialized()):
        return
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        msg = (
            f"WORLD_SIZE is {world_size()}, but torchrun has not started this process: start the "
            "command with torchrun, or unset WORLD_SIZE"
        )
        raise RunError(msg)
    # What is decided travels over gloo, gradients on GPUs over nccl.
    gpus = torch.cuda.is_available() and distributed.is_nccl_available()
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
    atexit.register(_leave)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def first_decides(decide: Callable[[], T]) -> T:
    """Let the first process do something and tell the others what came of it.

    Args:
        decide: Called by the first process only; returns plain data and tensors.

    Returns:
        What it returned, in every process.

    Raises:
        RunError: In every process, if the first one raised it.
    """
    if world_size() == 1:
        return decide()
    told: list[Any] = [None, None]
    if not is_writer():
        distributed.broadcast_object_list(told, src=0)
        if told[1] is not None:
            msg = f"process 0 stopped: {told[1]}"
            raise RunError(msg)
        value: T = told[0]
        return value
    try:
        decided = decide()
    except RunError as error:
        distributed.broadcast_object_list([None, str(error)], src=0)
        raise
    distributed.broadcast_object_list([decided, None], src=0)
    return decided


def any_value(value: float, wrong: Callable[[float], bool]) -> float | None:
    """Return a number that is wrong in some process, the same in every one; None: it is in none."""
    if world_size() == 1:
        return value if wrong(value) else None
    fault = torch.tensor(float(wrong(value)))
    distributed.all_reduce(fault, distributed.ReduceOp.MAX)
    return next(filter(wrong, all_values(value))) if fault else None


def all_values(value: T) -> list[T]:
    """Return every process's value, in the order of the processes."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values


def _rank() -> int:
    world = world_size()
    # A number that some shell has left is no rank of a process that is alone.
    rank = _variable("RANK", 0, least=0) if world > 1 else 0
    if rank >= world:
        msg = f"RANK must be below WORLD_SIZE ({world}), got {rank}"
        raise RunError(msg)
    return rank


def _variable(name: str, default: int, *, least: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        msg = f"the environment variable {name} must be an integer >= {least}, got {text!r}"
        raise RunError(msg)
    return value
