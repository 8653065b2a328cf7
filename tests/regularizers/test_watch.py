"""One student pass and one teacher pass serve every penalty, and what they see is what was asked for."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from kantorch.regularizers import (
    BSS,
    DELTA,
    FitNet,
    KnowledgeDistillation,
    Layer,
    RepresentationTransport,
    Sum,
    Watch,
    neuron_cost,
)
from regularizers.networks import moved, perceptron


class Counting(nn.Module):
    """Counts the calls of a network."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.calls = 0

    def forward(self, *inputs, **named):
        self.calls += 1
        return self.network(*inputs, **named)


class Tokens(nn.Module):
    """A transformer's manners: tokens, a tuple of results, and a loss of its own."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x, *, scale=1.0, labels=None):
        tokens = self.embed(x) * scale
        mixed, _ = self.attend(tokens, tokens, tokens)
        logits = self.head(mixed.mean(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


def transport(student, teacher=None, **options):
    options = {"layers": ["hidden0"], "kind": "identity"} | options
    return RepresentationTransport(student, teacher, **options)


def test_a_call_without_inputs_is_a_call_with_them():
    student, x = perceptron(), torch.randn(8, 4)
    penalty = transport(student, moved(student))
    student(x)
    with_inputs = penalty(x)
    student(x)
    assert torch.equal(penalty(), with_inputs)
    assert with_inputs.item() > 0


def test_student_and_teacher_run_once_for_a_sum():
    student, teacher = Counting(perceptron()), Counting(moved(perceptron()))
    x = torch.randn(8, 4)
    layers = ["network.hidden0"]

    def penalties(at):
        return (
            RepresentationTransport(at(), layers=layers, kind="identity", alpha=0.3),
            KnowledgeDistillation(at(), alpha=0.2),
            FitNet(at(), layers=layers, example=x[:1]),
            DELTA(at(), layers=layers),
            BSS(at(), layers=layers),
        )

    watch = Watch(student, teacher)
    torch.manual_seed(1)
    together = Sum(*penalties(lambda: watch))
    torch.manual_seed(1)
    apart = penalties(lambda: Watch(student, copy.deepcopy(teacher)))
    student.calls = teacher.calls = 0
    for _ in range(2):
        student(x)
        value = together()
    assert (student.calls, teacher.calls) == (2, 2)
    student(x)
    torch.testing.assert_close(value, torch.stack([penalty() for penalty in apart]).sum())
    torch.testing.assert_close(torch.stack(list(together.terms.values())).sum(), value.detach())
    assert together.terms.keys() == {
        "RepresentationTransport/network.hidden0",
        "KnowledgeDistillation/logits",
        "FitNet/network.hidden0",
        "DELTA/network.hidden0",
        "BSS/network.hidden0",
    }


def test_what_a_penalty_needs_is_let_go_after_the_last_one():
    student, x = perceptron(), torch.randn(8, 4)
    watch = Watch(student, moved(student))
    first, second = transport(watch), transport(watch)
    student(x)
    first()
    inputs = weakref.ref(x)
    activation = weakref.ref(next(iter(watch._student.catches.values())).value)
    assert activation() is not None
    second()
    del x
    gc.collect()
    assert activation() is None
    assert inputs() is None


def test_a_penalty_takes_a_pass_once():
    student, x = perceptron(), torch.randn(8, 4)
    watch = Watch(student, moved(student))
    first, second = transport(watch), transport(watch)
    student(x)
    first()
    with pytest.raises(RuntimeError, match="'hidden0' was captured since the last call"):
        first()
    assert second().item() > 0


def test_another_batch_of_the_same_size_is_refused():
    student, x = perceptron(), torch.randn(8, 4)
    penalty = transport(student)
    student(x)
    with pytest.raises(ValueError, match="the student's last batch must be the regularizer's"):
        penalty(torch.randn(8, 4))
    student(x)
    assert penalty(x.clone()).item() == 0  # the same numbers elsewhere are the same batch


def test_an_input_that_was_changed_is_not_given_to_the_teacher():
    student, x = perceptron(), torch.randn(8, 4)
    penalty = transport(student)
    student(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        penalty()


def test_parts_of_a_student_need_the_inputs_to_be_given():
    student, x = perceptron(), torch.randn(8, 4)
    penalty = transport(student, moved(student))
    student.hidden0(x)
    with pytest.raises(RuntimeError, match="only parts of it were called"):
        penalty()
    student.hidden0(x)
    assert penalty(x).item() > 0


def test_the_last_pass_counts_labelled_or_not():
    student = perceptron()
    penalty = transport(student, moved(student))
    x, unlabelled = torch.randn(8, 4), torch.randn(20, 4)
    student(unlabelled)
    alone = penalty()
    student(x)
    student(unlabelled)
    assert torch.equal(penalty(), alone)


def test_a_pass_of_evaluation_is_not_taken_for_one_of_training():
    student, x = perceptron(), torch.randn(8, 4)
    penalty = transport(student)
    student(x)
    with torch.no_grad():
        student(torch.randn(8, 4))
    with pytest.raises(RuntimeError, match="'hidden0' ran without gradients"):
        penalty()


def test_a_checkpointed_layer_is_seen_once():
    class Saving(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = perceptron()

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=False)

    student, x = Saving(), torch.randn(8, 4)
    penalty = transport(student, moved(student), layers=["inner.hidden0"])
    student(x)
    value = penalty()
    (student(x).sum() + penalty()).backward()
    assert value.item() > 0
    plain = moved(student.inner, size=0.0)
    other = transport(plain, moved(student.inner))
    (plain(x).sum() + other()).backward()
    for mine, theirs in zip(student.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    with pytest.raises(RuntimeError, match="was captured since the last call"):
        penalty()  # the second computation in the backward pass is none of a batch


def test_tokens_must_say_where_their_channels_are():
    student, x = Tokens(), torch.randn(6, 4, 5)
    penalty = transport(student, moved(student), layers=["embed"])
    student(x)
    with pytest.raises(ValueError, match=r"channel_dim must be given for .* 'embed' .*\(6, 4, 8\)"):
        penalty()
    penalty = transport(student, moved(student), layers=[Layer("embed", channel_dim=-1)])
    student(x)
    penalty()
    assert penalty.plans["embed"].shape == (8, 8)
    for dim, neurons in ((1, 4), (2, 8)):
        penalty = transport(student, moved(student), layers=["embed"], channel_dim=dim)
        student(x)
        penalty()
        assert penalty.plans["embed"].shape == (neurons, neurons)


def test_a_part_of_a_tuple_and_an_input_can_be_captured():
    student, x = Tokens(), torch.randn(6, 4, 5)
    penalty = transport(student, moved(student), layers=["attend"])
    student(x)
    with pytest.raises(TypeError, match="'attend' must return a tensor, got tuple of 2 parts"):
        penalty()
    layers = [Layer("attend", item=0, channel_dim=2), Layer("head", of="input", weight=0.5)]
    penalty = transport(student, moved(student), layers=layers)
    student(x)
    value = penalty()
    parts = penalty.terms
    torch.testing.assert_close(parts["attend"] + parts["head"], value.detach())
    pooled = [n.attend(*[n.embed(x)] * 3)[0].mean(1) for n in (student, penalty.teacher)]
    expected = 0.5 * neuron_cost(*pooled).diagonal().mean()
    torch.testing.assert_close(parts["head"], expected.detach())


def test_named_inputs_reach_the_teacher_without_labels():
    student, x = Tokens(), torch.randn(6, 4, 5)
    labels = torch.full((6,), 2)
    teacher = moved(student)
    teacher.head = nn.Linear(8, 2)  # the labels are out of its range
    with torch.no_grad():
        teacher.head.weight.zero_()
    seen = []
    teacher.register_forward_pre_hook(lambda _, args, named: seen.append(named), with_kwargs=True)
    penalty = transport(student, teacher, layers=[Layer("head", of="input")])
    student(x=x, scale=2.0, labels=labels)["loss"]
    penalty()
    assert seen[0].keys() == {"x", "scale"}
    assert seen[0]["scale"] == 2.0
    assert Layer("", item="logits").activations(student(x), "student", "").shape == (6, 3)
    with pytest.raises(ValueError, match=r"item must name a part .* got 'logit'"):
        Layer("", item="logit").activations(student(x), "student", "")


@pytest.mark.parametrize("kind", [tuple, dict, None])
def test_a_transform_stands_before_the_teacher(kind):
    student, x = perceptron(), torch.randn(8, 4)
    forms = {tuple: lambda y: (2 * y,), dict: lambda y: {"input": 2 * y}, None: lambda y: 2 * y}
    teacher = moved(student)
    penalty = transport(student, teacher, teacher_transform=forms[kind])
    student(x)
    expected = neuron_cost(student.hidden0(x), teacher.hidden0(2 * x)).diagonal().mean()
    torch.testing.assert_close(penalty(), expected)


def test_a_teacher_in_batch_mode_normalises_like_its_student():
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))
    x = torch.randn(16, 4)
    values = {}
    for mode in ("eval", "batch"):
        penalty = RepresentationTransport(
            student, copy.deepcopy(student), layers=["1"], kind="identity", teacher_mode=mode
        )
        before = copy.deepcopy(penalty.teacher.state_dict())
        penalty.train()
        student(x)
        values[mode] = penalty().item()
        for name, value in penalty.teacher.state_dict().items():
            assert torch.equal(value, before[name]), name
        assert not penalty.teacher[3].training
        # Others who run it find it as it came.
        assert penalty.teacher[1].track_running_stats
        assert not penalty.teacher[1].training
    assert values["batch"] == 0
    assert values["eval"] > 0.1


def test_a_teacher_of_half_precision_moves_the_penalty_by_what_it_rounds():
    student, x = perceptron(), torch.randn(64, 4)
    teacher, seen = moved(student), []
    teacher.hidden0.register_forward_hook(lambda *call: seen.append(call[-1].dtype))
    values = {}
    for dtype in (None, torch.bfloat16):
        penalty = transport(Watch(student, teacher, teacher_dtype=dtype))
        student(x)
        values[dtype] = penalty()
        assert next(teacher.parameters()).dtype == torch.float32
    assert seen == [torch.float32, torch.bfloat16]
    assert values[torch.bfloat16].dtype == torch.float32
    torch.testing.assert_close(values[torch.bfloat16], values[None], rtol=2**-7, atol=0)
    assert values[torch.bfloat16] != values[None]
    with pytest.raises(ValueError, match=r"teacher_dtype must be .*, got torch.int8"):
        Watch(student, teacher, teacher_dtype=torch.int8)


def test_a_state_without_its_teacher_is_found_out():
    student = perceptron()
    penalty = transport(student, moved(student))
    state = penalty.state_dict()
    stripped = {k: v for k, v in state.items() if "teacher." not in k}
    other = transport(student, moved(student, seed=9))
    with pytest.raises(ValueError, match="the teacher must be the one that the state was saved"):
        other.load_state_dict(stripped, strict=False)
    other.load_state_dict(state)
    same = transport(student, copy.deepcopy(penalty.teacher))
    same.load_state_dict(stripped, strict=False)
    half = transport(student, copy.deepcopy(penalty.teacher).bfloat16())
    half.load_state_dict(state)


def test_options_beside_a_watch_are_refused():
    student = perceptron()
    with pytest.raises(ValueError, match="teacher must be given to the Watch"):
        transport(Watch(student, moved(student)), moved(student))
    with pytest.raises(ValueError, match="teacher_mode must be given to the Watch"):
        transport(Watch(student, moved(student)), teacher_mode="batch")
    with pytest.raises(ValueError, match="must have a teacher for this penalty, got none"):
        transport(Watch(student))
    with pytest.raises(ValueError, match="of must be one of"):
        Layer("x", of="middle")
    with pytest.raises(ValueError, match=r"weight must be finite and >= 0, got -1"):
        Layer("x", weight=-1)


def test_dropped_penalties_leave_no_hooks():
    student = perceptron()
    penalty = Sum(
        transport(student, moved(student)), KnowledgeDistillation(student, moved(student))
    )
    student(torch.randn(8, 4))
    penalty().backward()
    del penalty
    gc.collect()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in student.modules())


def test_a_copied_owner_of_student_and_sum_watches_its_own():
    student, x = perceptron(), torch.randn(8, 4)
    watch = Watch(student, moved(student))
    owner = nn.ModuleDict(
        {"student": student, "penalty": Sum(transport(watch), BSS(watch, layers=["hidden1"]))}
    )
    twin = copy.deepcopy(owner)
    with torch.no_grad():
        twin["student"].hidden0[0].weight.add_(1)
    values = []
    for each in (owner, twin):
        each["student"](x)
        values.append(each["penalty"]().item())
    assert values[0] != values[1]
    owner["student"](x)
    assert owner["penalty"]().item() == values[0]


def test_parts_that_are_called_make_a_pass_of_their_own():
    student, x, z = perceptron(), torch.randn(8, 4), torch.randn(8, 4)
    penalty = transport(student, copy.deepcopy(student))
    student(z)
    penalty()
    student.hidden0(x)
    with pytest.raises(RuntimeError, match="inputs are not known"):
        penalty()
    student.hidden0(x)
    assert penalty(x).item() == pytest.approx(0, abs=1e-5)


def test_a_part_that_is_called_aside_does_not_stand_for_the_pass():
    student, x = perceptron(), torch.randn(8, 4)
    penalty = transport(student, copy.deepcopy(student))
    student(x)
    student.hidden0(torch.randn(8, 4))
    assert penalty().item() == pytest.approx(0, abs=1e-5)


def test_a_teacher_may_be_run_by_others_between_two_penalties():
    student, teacher, x = perceptron(), perceptron(), torch.randn(8, 4)
    watch = Watch(student, teacher)
    first, second = KnowledgeDistillation(watch), KnowledgeDistillation(watch)
    student(x)
    wanted = first().item()
    teacher(torch.randn(8, 4))
    assert second().item() == wanted


def test_hooks_that_change_the_inputs_of_both_come_after_the_watch():
    student, x = perceptron(), torch.randn(8, 4)
    student.register_forward_pre_hook(lambda module, inputs: (3 * inputs[0],))
    penalty = transport(student, copy.deepcopy(student))
    student(x)
    assert penalty(x).item() == pytest.approx(0, abs=1e-5)


class TwoViews(nn.Module):
    """Calls itself, as networks do that average over views."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x, average=True):
        if average:
            return (self(x, average=False) + self(x.flip(-1), average=False)) / 2
        if not x.isfinite().all():
            msg = "not finite"
            raise ValueError(msg)
        return self.layer(x)


def test_a_forward_that_calls_the_network_itself_is_one_pass():
    student, x = TwoViews(), torch.randn(8, 4)
    penalty = KnowledgeDistillation(student, copy.deepcopy(student))
    with pytest.raises(ValueError, match="not finite"):
        student(x / 0)
    student(x)
    assert penalty().item() == pytest.approx(0, abs=1e-6)


def test_a_pass_ended_by_ctrl_c_is_not_a_call_of_the_network_by_itself():
    student, x = TwoViews(), torch.randn(8, 4)
    penalty = KnowledgeDistillation(student, copy.deepcopy(student))

    def interrupt(*_):
        raise KeyboardInterrupt

    handle = student.layer.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        student(torch.randn(8, 4))
    handle.remove()
    for _ in range(2):
        student(x)
        assert penalty().item() == pytest.approx(0, abs=1e-6)


def test_parts_that_are_trained_follow_a_validation_pass_that_nobody_read():
    student, x = perceptron(), torch.randn(8, 4)
    penalty = transport(student, copy.deepcopy(student))
    with torch.no_grad():
        student(torch.randn(8, 4))
    student.hidden0(x)
    assert penalty(x).item() == pytest.approx(0, abs=1e-5)


def test_an_input_changed_in_place_is_not_what_the_teacher_is_called_with():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return self.layer(x.sub_(1.0))

    student, x = Shifted(), torch.randn(8, 4)
    penalty = KnowledgeDistillation(student, copy.deepcopy(student))
    before = x.clone()
    student(x)
    with pytest.raises(RuntimeError, match="changed in place"):
        penalty(x)
    student(before.clone())
    assert penalty(before).item() == pytest.approx(0, abs=1e-6)


def test_a_compiled_student_is_compiled_once():
    torch._dynamo.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    student = perceptron()
    teacher = moved(student)
    penalties = [
        transport(student, teacher),
        KnowledgeDistillation(student, copy.deepcopy(teacher)),
    ]
    compiled = torch.compile(student, backend=backend)
    plain = copy.deepcopy(student)
    others = [
        transport(plain, copy.deepcopy(teacher)),
        KnowledgeDistillation(plain, copy.deepcopy(teacher)),
    ]
    for _ in range(12):
        x = torch.randn(8, 4)
        compiled(x)
        plain(x)
        for penalty, other in zip(penalties, others, strict=True):
            torch.testing.assert_close(penalty(), other())
    assert len(graphs) == 1


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, weight):
        return weight * self.factor


def test_a_copied_teacher_has_its_own_weights_where_parametrizations_are_cached():
    student, x = perceptron(), torch.randn(8, 4)
    scaled = Scaled()
    parametrize.register_parametrization(student.hidden0[0], "weight", scaled)
    penalty = transport(student)
    with torch.no_grad():
        scaled.factor.fill_(2.0)
    student(x)
    wanted = penalty().item()
    with parametrize.cached():
        student(x)
        assert penalty().item() == wanted > 0
