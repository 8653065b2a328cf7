"""A copy of a watched network, however it is made, is without hooks at once, and keeps what is its own."""

from __future__ import annotations

import copy
import io
import multiprocessing.reduction
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from kantorch.regularizers import KnowledgeDistillation, Layer, RepresentationTransport, Sum, Watch
from regularizers.networks import moved, perceptron


def saved(student):
    file = io.BytesIO()
    torch.save(student, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda student: pickle.loads(pickle.dumps(student)),
    "pickle without C": lambda student: pickle.loads(pickle._dumps(student)),
    "protocol 2": lambda student: pickle.loads(pickle.dumps(student, protocol=2)),
    "multiprocessing": lambda student: pickle.loads(
        multiprocessing.reduction.ForkingPickler.dumps(student)
    ),
    "torch.save": saved,
    "a copy's copy": lambda student: saved(copy.deepcopy(student)),
    "within another": lambda student: copy.deepcopy(nn.ModuleList([student]))[0],
}
LAYERS = ["hidden0", Layer("hidden1", of="input"), Layer("head", of="input")]


def hooks(network):
    kept = ("_forward_hooks", "_forward_pre_hooks")
    flags = ("_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs")
    return [
        value
        for module in network.modules()
        for name in (*kept, *flags, "_forward_hooks_always_called")
        for value in getattr(module, name).values()
    ]


def times_two(module, inputs, output):
    return 2 * output


def plus_one(module, inputs, named):
    return (inputs[0] + 1,), named


def watched(student):
    watch = Watch(student, moved(student))
    return Sum(
        RepresentationTransport(watch, layers=LAYERS, kind="identity"),
        KnowledgeDistillation(watch),
    )


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_copy_is_without_hooks_at_once(way, ran):
    student, x = perceptron(), torch.randn(8, 4)
    penalty = watched(student)
    if ran:
        student(x)
    twin = way(student)
    assert hooks(twin) == []
    assert (
        len(hooks(student)) == 10
    )  # three pre-hooks, their marks, three hooks, and the mark of one
    torch.jit.script(twin)
    assert torch.equal(twin(x + 1), student(x + 1))
    student(x)
    twin(x + 1)
    value = penalty()  # the student's own activations, not the copy's
    student(x)
    assert torch.equal(penalty(), value)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_hooks_of_others_stay_in_a_copy(way):
    student, x = perceptron(), torch.randn(8, 4)
    student.hidden0.register_forward_hook(times_two)
    before = student.register_forward_pre_hook(plus_one, with_kwargs=True)
    penalty = watched(student)
    student.hidden0.register_forward_hook(times_two, prepend=True)
    twin = way(student)
    assert [h for h in hooks(twin) if h is not True] == [plus_one, times_two, times_two]
    assert torch.equal(twin(x), student(x))
    before.remove()
    penalty.close()
    assert hooks(student) == [times_two, times_two]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_owners_of_network_and_penalty_are_copied_whole(way):
    student, x = perceptron(), torch.randn(8, 4)
    owner = nn.ModuleDict({"student": student, "penalty": watched(student)})
    twin = way(owner)
    values = []
    for each in (owner, twin):
        each["student"](x)
        values.append(each["penalty"]())
    assert torch.equal(*values)
    assert len(hooks(twin["student"])) == 10
    twin["penalty"].close()
    assert hooks(twin["student"]) == []


def test_a_copy_with_parametrizations_is_without_hooks():
    student = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    with RepresentationTransport(student, layers=["0", Layer("", of="input")]) as penalty:
        twin = copy.deepcopy(student)
        assert hooks(twin) == []
        student(torch.randn(3, 4, requires_grad=True))
        assert penalty().item() == 0


def test_a_pickle_holds_nothing_of_kantorch(tmp_path):
    student = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    penalty = RepresentationTransport(student, layers=["0"])
    torch.save(student, tmp_path / "student.pt")
    program = f"""
import sys, torch
student = torch.load({str(tmp_path / "student.pt")!r}, weights_only=False)
assert "kantorch" not in sys.modules
student.register_forward_pre_hook(lambda module, inputs: None)
student(torch.zeros(1, 4))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    penalty.close()


def test_other_ordered_dicts_are_copied_as_ever():
    state = perceptron().state_dict()
    twin = pickle.loads(pickle.dumps(state))
    assert twin._metadata == state._metadata
    assert list(twin) == list(state)
    assert copy.deepcopy(state)._metadata == state._metadata
