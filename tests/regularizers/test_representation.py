"""Representation transport: its plans, its gradients, and its manners as a module."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from kantorch import solve
from kantorch.regularizers import RepresentationTransport, neuron_cost, transport_penalty
from regularizers.networks import moved, perceptron, with_neurons_permuted

LAYERS = ("hidden0", "hidden1")
KINDS = ("optimal", "identity", "uniform")


def activations(network, layer, x):
    return network[: [n for n, _ in network.named_children()].index(layer) + 1](x)


def penalty(kind, student, teacher, x, layers=LAYERS, **options):
    options = {"solver": "exact"} | options
    with RepresentationTransport(student, teacher, layers=layers, kind=kind, **options) as r:
        student(x)
        return r(x), r.plans, r.traces


@pytest.fixture
def pair():
    student = perceptron(dtype=torch.float64)
    return student, moved(student), torch.randn(20, 4, dtype=torch.float64)


@pytest.mark.parametrize("solver", ["exact", "ipot"])
def test_optimal_is_at_most_identity_and_uniform(pair, solver):
    student, teacher, x = pair
    # 3000 proximal steps leave the rows of the plan wrong by far less than this slack.
    options = {"solver": solver} | ({"max_iter": 3000} if solver == "ipot" else {})
    for layer in LAYERS:
        optimal, identity, uniform = (
            penalty(kind, student, teacher, x, [layer], **options)[0].item() for kind in KINDS
        )
        assert 0 < optimal <= min(identity, uniform) * (1 + 1e-6)


def test_identity_and_uniform_follow_their_formulas(pair):
    student, teacher, x = pair
    for kind, mean in (("identity", lambda m: m.trace() / len(m)), ("uniform", torch.mean)):
        expected = sum(
            mean(neuron_cost(activations(student, n, x), activations(teacher, n, x)))
            for n in LAYERS
        )
        torch.testing.assert_close(penalty(kind, student, teacher, x)[0], expected)


def test_optimal_value_is_the_plan_times_the_cost_and_the_plan_is_a_coupling(pair):
    student, teacher, x = pair
    value, plans, traces = penalty("optimal", student, teacher, x, ["hidden1"])
    plan = plans["hidden1"]
    cost = neuron_cost(activations(student, "hidden1", x), activations(teacher, "hidden1", x))
    torch.testing.assert_close(value, (plan * cost).sum())
    uniform = torch.full((10,), 0.1, dtype=torch.float64)
    torch.testing.assert_close(plan.sum(0), uniform)
    torch.testing.assert_close(plan.sum(1), uniform)
    torch.testing.assert_close(traces["hidden1"], plan.trace())
    assert not plan.requires_grad


def test_a_network_with_permuted_neurons_costs_nothing(pair):
    teacher, _, x = pair
    permutation = torch.tensor([1, 0, 2, 3, 5, 4])  # two of six stay
    student = with_neurons_permuted(teacher, "hidden0", permutation)
    torch.testing.assert_close(student(x), teacher(x))
    value, plans, traces = penalty("optimal", student, teacher, x, ["hidden0"])
    assert value.item() <= 1e-14
    assert traces["hidden0"].item() == pytest.approx(2 / 6)
    rows, columns = plans["hidden0"].nonzero(as_tuple=True)
    assert torch.equal(columns[rows.argsort()], permutation)
    assert penalty("identity", student, teacher, x, ["hidden0"])[0].item() > 0.1


def test_optimal_does_not_mind_permuted_neurons(pair):
    student, teacher, x = pair
    permuted = with_neurons_permuted(student, "hidden1", torch.randperm(10))
    for kind, same in (("optimal", True), ("uniform", True), ("identity", False)):
        before = penalty(kind, student, teacher, x, ["hidden1"])[0].item()
        after = penalty(kind, permuted, teacher, x, ["hidden1"])[0].item()
        assert (after == pytest.approx(before, rel=1e-12)) is same


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["exact", "ipot"])
def test_gradient_is_finite_at_the_start_of_fine_tuning(kind, solver):
    student = perceptron()
    x = torch.randn(16, 4)
    regularizer = RepresentationTransport(student, layers=LAYERS, kind=kind, solver=solver)
    student(x)
    value = regularizer(x)
    value.backward()
    for layer in (student.hidden0, student.hidden1):
        for parameter in layer.parameters():
            assert parameter.grad.isfinite().all()
            if kind != "uniform":  # Omega_P and Omega_I are at their minimum, 0
                assert parameter.grad.abs().max() <= 1e-6
    if kind != "uniform":
        assert value.item() <= 1e-6


@pytest.mark.parametrize("solver", ["exact", "ipot"])
def test_dead_neurons_cost_nothing_and_have_finite_gradients(solver):
    cost = torch.zeros(5, 5, requires_grad=True)
    value, plan = transport_penalty(cost, solver=solver)
    value.backward()
    assert value.item() == 0.0
    assert plan.sum().item() == pytest.approx(1.0, rel=1e-5)
    assert cost.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_the_difference_quotient(pair, kind):
    student, teacher, x = pair
    weight = student.hidden0[0].weight
    value = penalty(kind, student, teacher, x)[0]
    (gradient,) = torch.autograd.grad(value, weight)
    direction = torch.randn_like(weight)

    def along(step):
        other = copy.deepcopy(student)
        with torch.no_grad():
            other.hidden0[0].weight.add_(step * direction)
            return penalty(kind, other, teacher, x)[0].item()

    quotient = (along(1e-6) - along(-1e-6)) / 2e-6
    # Central differences of 1e-6 on values of order 1 in float64: about 1e-9 of rounding.
    assert (gradient * direction).sum().item() == pytest.approx(quotient, rel=1e-6, abs=1e-8)


def test_sinkhorn_pays_its_own_plan_and_comes_near_the_optimum(pair):
    student, teacher, x = pair
    exact = penalty("optimal", student, teacher, x, ["hidden0"])[0]
    previous = None
    for reg in (1.0, 0.1, 0.01):
        value, plans, _ = penalty(
            "optimal", student, teacher, x, ["hidden0"], solver="sinkhorn", reg=reg, max_iter=10**5
        )
        cost = neuron_cost(*(activations(n, "hidden0", x) for n in (student, teacher)))
        torch.testing.assert_close(value, (plans["hidden0"] * cost).sum())
        assert value >= exact * (1 - 1e-9)
        assert previous is None or value < previous
        previous = value
    torch.testing.assert_close(previous, exact, rtol=1e-2, atol=0)


def test_kept_plans_are_paid_at_the_present_distances(pair):
    student, teacher, _ = pair
    batches = torch.randn(4, 20, 4, dtype=torch.float64)
    options = {"layers": ["hidden0"], "solver": "exact"}
    kept = RepresentationTransport(student, teacher, renew_every=3, **options)
    plans = []
    for x in batches:
        features = activations(student, "hidden0", x)
        cost = neuron_cost(features, activations(teacher, "hidden0", x))
        student(x)
        value = kept()
        plans.append(kept.plans["hidden0"])
        torch.testing.assert_close(value, (plans[-1] * cost).sum())
        mine, theirs = (
            torch.autograd.grad(v, student.hidden0[0].weight)[0]
            for v in (value, (plans[-1] * cost).sum())
        )
        torch.testing.assert_close(mine, theirs)
    assert torch.equal(plans[0], plans[1])
    assert torch.equal(plans[0], plans[2])
    assert not torch.equal(plans[2], plans[3])
    torch.testing.assert_close(plans[3], transport_penalty(cost, solver="exact")[1])


def test_a_resumed_run_goes_on_with_the_plans_that_are_kept(pair, tmp_path):
    student, teacher, _ = pair
    x, y = torch.randn(2, 20, 4, dtype=torch.float64)
    first, second = (
        RepresentationTransport(student, teacher, layers=LAYERS, solver="exact", renew_every=2)
        for _ in range(2)
    )
    student(x)
    first()
    second()
    torch.save(first.state_dict(), tmp_path / "state")
    resumed = RepresentationTransport(
        student, copy.deepcopy(teacher), layers=LAYERS, solver="exact", renew_every=2
    )
    resumed.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    student(y)
    assert torch.equal(second(), resumed())


def test_unequal_widths_transport():
    student, teacher = perceptron(widths=(6, 5)), perceptron(widths=(8, 10), seed=1)
    x = torch.randn(16, 4)
    value, plans, _ = penalty("optimal", student, teacher, x, ["hidden1"])
    plan = plans["hidden1"]
    assert plan.shape == (5, 10)
    torch.testing.assert_close(plan.sum(1), torch.full((5,), 0.2))
    torch.testing.assert_close(plan.sum(0), torch.full((10,), 0.1))
    assert value.item() <= penalty("uniform", student, teacher, x, ["hidden1"])[0].item()
    with pytest.raises(ValueError, match=r"\(16, 5\) and \(16, 10\)"):
        penalty("identity", student, teacher, x, ["hidden1"])


def test_layers_can_be_paired_and_weighted():
    student, teacher = perceptron(widths=(6,)), perceptron(widths=(5, 8), seed=1)
    x = torch.randn(16, 4)
    value, plans, _ = penalty(
        "uniform", student, teacher, x, [("hidden0", "hidden1")], layer_weights=[3.0]
    )
    cost = neuron_cost(activations(student, "hidden0", x), activations(teacher, "hidden1", x))
    torch.testing.assert_close(value, 3 * cost.mean())
    assert plans["hidden0"].shape == (6, 8)


def test_feature_maps_transport():
    torch.manual_seed(0)
    student = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    teacher = moved(student)
    x = torch.randn(5, 1, 6, 6)
    for spatial in ("mean", "flatten"):
        value, plans, _ = penalty("optimal", student, teacher, x, ["1"], spatial=spatial)
        cost = neuron_cost(student(x), teacher(x), spatial=spatial)
        torch.testing.assert_close(value, (plans["1"] * cost).sum())


def test_teacher_stays_frozen_in_evaluation_mode_and_without_graph():
    student = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
    teacher = copy.deepcopy(student)
    regularizer = RepresentationTransport(student, teacher, layers=["1"], kind="uniform")
    before = copy.deepcopy(teacher.state_dict())
    holder = nn.ModuleDict({"student": student, "penalty": regularizer})
    holder.train()
    teacher.train()  # as a careless trainer would
    x = torch.randn(8, 4)
    student(x)
    regularizer(x).backward()
    assert not teacher.training
    assert student.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert student[0].weight.grad is not None


def test_student_trains_towards_the_teacher():
    student = perceptron(seed=0)
    teacher = moved(student)
    x = torch.randn(32, 4)
    regularizer = RepresentationTransport(student, teacher, layers=LAYERS, solver="exact")
    optimizer = torch.optim.SGD(student.parameters(), lr=0.02)
    values = []
    for _ in range(60):
        student(x)
        value = regularizer(x)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]


def test_calling_without_a_forward_pass_is_an_error():
    student, x = perceptron(), torch.randn(8, 4)
    regularizer = RepresentationTransport(student, layers=["hidden0"], kind="identity")
    with pytest.raises(RuntimeError, match=r"'hidden0'.*run the student"):
        regularizer(x)
    student(x)
    regularizer(x)
    with pytest.raises(RuntimeError, match="'hidden0'"):
        regularizer(x)


def test_another_batch_size_is_an_error():
    student = perceptron()
    regularizer = RepresentationTransport(student, layers=["hidden0"], kind="identity")
    student(torch.randn(8, 4))
    with pytest.raises(ValueError, match=r"shape \(8, 4\), and .* shape \(9, 4\)"):
        regularizer(torch.randn(9, 4))


def test_the_gradient_of_sinkhorn_is_that_of_the_value_with_entropy():
    cost = torch.rand(5, 7, dtype=torch.float64, requires_grad=True)
    value, plan = transport_penalty(cost, solver="sinkhorn", reg=0.1, tol=1e-12)
    (gradient,) = torch.autograd.grad(value, cost)
    result = solve(cost, reg=0.1, tol=1e-12)
    (of_entropic,) = torch.autograd.grad(result.value, cost, retain_graph=True)
    (of_linear,) = torch.autograd.grad(result.value_linear, cost)
    torch.testing.assert_close(value, result.value_linear)
    torch.testing.assert_close(gradient, plan)
    torch.testing.assert_close(gradient, of_entropic)
    assert not torch.allclose(gradient, of_linear, rtol=0.1)


def test_close_removes_the_hooks():
    student, x = perceptron(), torch.randn(8, 4)
    teacher = copy.deepcopy(student)
    with RepresentationTransport(student, teacher, layers=LAYERS, kind="uniform") as regularizer:
        assert student.hidden0._forward_hooks
        student(x)
        regularizer(x)
    for network in (student, teacher):
        assert not any(module._forward_hooks for module in network.modules())
    student(x)
    with pytest.raises(RuntimeError, match="close"):
        regularizer(x)


def test_a_dropped_regularizer_takes_its_hooks_along():
    student = perceptron()
    regularizer = RepresentationTransport(student, layers=LAYERS)
    teacher = regularizer.teacher
    student(torch.randn(8, 4))
    del regularizer
    for network in (student, teacher):
        assert not any(module._forward_hooks for module in network.modules())


def test_a_refused_regularizer_leaves_no_hooks():
    student = perceptron()
    with pytest.raises(ValueError, match="'nothing'"):
        RepresentationTransport(student, layers=[("hidden0", "nothing")])
    assert not any(module._forward_hooks for module in student.modules())


def test_a_dropped_copy_takes_its_hooks_along():
    student = perceptron()
    holder = nn.ModuleDict({"student": student})
    holder["penalty"] = RepresentationTransport(student, layers=LAYERS)
    twin = copy.deepcopy(holder)
    del twin["penalty"]
    assert not any(module._forward_hooks for module in twin.modules())
    assert student.hidden0._forward_hooks


def test_two_regularizers_share_a_student():
    student, x = perceptron(), torch.randn(8, 4)
    teacher = moved(student)
    one = RepresentationTransport(student, teacher, layers=["hidden0"], kind="identity")
    two = RepresentationTransport(student, teacher, layers=["hidden0"], kind="identity")
    student(x)
    assert one(x).item() == two(x).item() > 0


def test_the_teacher_is_saved_and_the_student_is_not():
    student = perceptron()
    regularizer = RepresentationTransport(student, layers=LAYERS)
    names = {f"watch.teacher.{name}" for name in student.state_dict()}
    assert set(regularizer.state_dict()) == names | {"watch._extra_state", "_extra_state"}
    assert not any(parameter.requires_grad for parameter in regularizer.parameters())


def test_a_resumed_run_compares_with_the_teacher_that_it_left(tmp_path):
    student, x = perceptron(seed=0), torch.randn(8, 4)
    regularizer = RepresentationTransport(student, layers=LAYERS)
    with torch.no_grad():
        student.hidden0[0].weight.add_(0.5)
    student(x)
    expected = regularizer(x)
    assert expected.item() > 0
    torch.save([student.state_dict(), regularizer.state_dict()], tmp_path / "saved.pt")

    resumed = perceptron(seed=1)
    saved_student, saved_regularizer = torch.load(tmp_path / "saved.pt")
    resumed.load_state_dict(saved_student)
    again = RepresentationTransport(resumed, layers=LAYERS)  # its teacher is the trained student
    again.load_state_dict(saved_regularizer)
    resumed(x)
    assert again(x).item() == expected.item()


def test_training_mode_does_not_reach_the_teacher():
    student = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5))
    holder = nn.ModuleDict(
        {"student": student, "penalty": RepresentationTransport(student, layers=["1"])}
    )
    holder.train()
    assert student.training
    assert not any(module.training for module in holder["penalty"].teacher.modules())


def test_an_averaged_owner_watches_the_averaged_student():
    student, x = perceptron(), torch.randn(8, 4)
    penalty = RepresentationTransport(student, layers=LAYERS, kind="identity")
    holder = nn.ModuleDict({"student": student, "penalty": penalty})
    averaged = torch.optim.swa_utils.AveragedModel(holder)
    averaged.update_parameters(holder)  # the first update copies
    with torch.no_grad():
        student.hidden0[0].weight.add_(1.0)
    averaged.update_parameters(holder)
    for name, value in averaged.module["penalty"].teacher.state_dict().items():
        assert torch.equal(value, penalty.teacher.state_dict()[name])
    averaged.module["student"](x)
    student(x)
    assert 0 < averaged.module["penalty"](x).item() < penalty(x).item()


def test_scripting_a_watched_student_is_refused_in_words():
    student = perceptron()
    regularizer = RepresentationTransport(student, layers=LAYERS)
    with pytest.raises(AttributeError, match=r"close\(\) first"):
        torch.jit.script(student.hidden0)
    regularizer.close()
    torch.jit.script(student.hidden0)


def test_moving_the_owner_moves_the_teacher():
    student = perceptron()
    holder = nn.ModuleDict(
        {"student": student, "penalty": RepresentationTransport(student, layers=LAYERS)}
    )
    holder.double()
    assert next(holder["penalty"].teacher.parameters()).dtype == torch.float64


def test_a_copied_owner_watches_its_own_student():
    student, x = perceptron(), torch.randn(8, 4)
    regularizer = RepresentationTransport(student, layers=LAYERS, kind="identity")
    holder = nn.ModuleDict({"student": student, "penalty": regularizer})
    student(x)  # an activation in waiting, which cannot be copied, must not prevent the copy
    twin = copy.deepcopy(holder)
    with torch.no_grad():
        twin["student"].hidden0[0].weight.add_(1.0)
    twin["student"](x)
    assert twin["penalty"](x).item() > 0.1
    assert regularizer(x).item() == 0.0


def test_autocast_distances_are_float32_and_train():
    student, x = perceptron(), torch.randn(8, 4)
    teacher = moved(student)
    regularizer = RepresentationTransport(student, teacher, layers=["hidden1"], solver="exact")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert student(x).dtype == torch.bfloat16
        value = regularizer(x)
    assert value.dtype == torch.float32
    value.backward()
    assert student.hidden0[0].weight.grad.abs().sum() > 0
    student(x)
    # bfloat16 keeps 8 bits: two digits of the activations.
    assert regularizer(x).item() == pytest.approx(value.item(), rel=0.05)


def test_a_compiled_student_is_watched():
    student, x = perceptron(), torch.randn(8, 4)
    regularizer = RepresentationTransport(student, moved(student), layers=LAYERS, solver="exact")
    torch.compile(student, backend="eager")(x)
    compiled = regularizer(x).item()
    student(x)
    assert compiled == regularizer(x).item() > 0


@pytest.mark.parametrize("where", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_plans_on_the_cpu_serve_networks_on_every_device(where):
    if where == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    student = perceptron()
    teacher = moved(student)
    x = torch.randn(16, 4)
    expected, _, _ = penalty("optimal", student, teacher, x)
    for network in (student, teacher):
        network.to(where)
    value, plans, _ = penalty("optimal", student, teacher, x.to(where), solver_device="cpu")
    assert value.device.type == where
    assert plans["hidden0"].device.type == "cpu"
    # Matrix products on another device round differently, in float32.
    torch.testing.assert_close(value.cpu(), expected, rtol=1e-4, atol=1e-5)
    value.backward()
    assert student.hidden0[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": ["hiden0"]}, "'hiden0'.*'hidden0'"),
        ({"layers": []}, "layers"),
        ({"layers": "hidden0"}, "layers"),
        ({"layers": [("hidden0",)]}, "pairs"),
        ({"layers": ["hidden0", "hidden0"]}, "once"),
        ({"layers": LAYERS, "kind": "best"}, "optimal, identity, uniform"),
        ({"layers": LAYERS, "solver": "simplex"}, "ipot, exact"),
        ({"layers": LAYERS, "spatial": "max"}, "mean, flatten"),
        ({"layers": LAYERS, "renew_every": 0}, "renew_every must be an integer >= 1, got 0"),
        ({"layers": LAYERS, "renew_every": True}, "renew_every must be an integer >= 1, got True"),
        ({"layers": LAYERS, "layer_weights": [1.0]}, "layer_weights must be 2"),
        ({"layers": LAYERS, "beta": 0.0}, "beta must be finite and > 0, got 0.0"),
        ({"layers": LAYERS, "reg": 0.1}, "reg belongs to solver 'sinkhorn', and solver is 'ipot'"),
        ({"layers": LAYERS, "solver": "exact", "beta": 0.1}, "beta belongs to solver 'ipot'"),
        ({"layers": LAYERS, "max_iter": 0}, "max_iter must be at least 1"),
        ({"layers": LAYERS, "tol": -1.0}, "tol must be finite and non-negative"),
        ({"layers": LAYERS, "layer_weights": [1.0, -1.0]}, "layer_weights"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        RepresentationTransport(perceptron(), **options)


def test_a_cost_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"cost must have shape .* got \(2, 3, 3\)"):
        transport_penalty(torch.zeros(2, 3, 3))


def test_strengths_of_numpy_are_numbers():
    assert RepresentationTransport(perceptron(), layers=LAYERS, alpha=np.float32(0.5)).alpha == 0.5


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.BatchNorm1d(3, affine=False)])
def test_a_shared_module_without_parameters_is_refused(layer):
    student = nn.Sequential(nn.Linear(4, 3), layer)
    teacher = nn.Sequential(nn.Linear(4, 3), layer)
    with pytest.raises(ValueError, match=r"teacher must share no (module|buffer) .*'1"):
        RepresentationTransport(student, teacher, layers=["1"])
    assert student.training
    assert layer.training


def test_a_shared_parameter_is_refused():
    student = perceptron()
    with pytest.raises(ValueError, match=r"share no parameter.*hidden0\.0\.weight"):
        RepresentationTransport(student, student, layers=LAYERS)
    teacher = nn.Sequential(copy.deepcopy(student), student.head)
    with pytest.raises(ValueError, match="share no parameter"):
        RepresentationTransport(student, teacher, layers=[("hidden0", "0.hidden0")])
    assert student.head.weight.requires_grad


def test_a_layer_without_a_tensor_is_refused():
    student = nn.Sequential(nn.LSTM(4, 5, batch_first=True))
    regularizer = RepresentationTransport(student, layers=["0"])
    x = torch.randn(2, 3, 4)
    student(x)
    with pytest.raises(TypeError, match="'0' must return a tensor, got tuple"):
        regularizer(x)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_a_nested_tensor_is_refused(layout):
    class Nest(nn.Module):
        def forward(self, x):
            return torch.nested.nested_tensor([x[0], x[1][:1]], layout=layout)

    student = nn.Sequential(Nest())
    regularizer = RepresentationTransport(student, nn.Sequential(nn.Identity()), layers=["0"])
    x = torch.randn(2, 3, 4)
    student(x)
    with pytest.raises(
        TypeError, match=r"student layer '0' must return a tensor, got a nested.*enable_nested"
    ):
        regularizer(x)


def test_layers_that_work_in_place_leave_the_activations_as_they_were():
    def network(inplace):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=inplace), nn.Linear(6, 2))

    x = torch.randn(8, 4)
    values, gradients = [], []
    for inplace in (False, True):
        student = network(inplace)
        value, _, _ = penalty("identity", student, moved(student), x, ["0"])
        value.backward()
        values.append(value.detach())
        gradients.append(student[0].weight.grad)
    assert values[0] > 0
    torch.testing.assert_close(values[1], values[0])
    torch.testing.assert_close(gradients[1], gradients[0])
    # Everything negative: in place, both networks would look alike.
    student = nn.Sequential(nn.Linear(1, 1), nn.ReLU(inplace=True))
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        for layer, bias in ((student[0], -1.0), (teacher[0], -3.0)):
            layer.weight.zero_()
            layer.bias.fill_(bias)
    value, _, _ = penalty("identity", student, teacher, torch.zeros(8, 1), ["0"])
    assert value.item() == pytest.approx(2 * 8**0.5)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_student_run_without_gradients_cannot_be_penalised_with_them(off):
    student, x = perceptron(), torch.randn(8, 4)
    regularizer = RepresentationTransport(student, moved(student), layers=LAYERS, kind="identity")
    with off():
        student(x)
    with pytest.raises(RuntimeError, match="student layer 'hidden0' ran without gradients"):
        regularizer(x)
    with off():
        student(x)
        assert regularizer(x).item() > 0
    student(x)
    with torch.no_grad():
        assert regularizer(x).item() > 0


def test_a_reentrant_checkpoint_is_refused():
    student, x = perceptron(), torch.randn(8, 4, requires_grad=True)
    regularizer = RepresentationTransport(student, moved(student), layers=LAYERS, kind="identity")
    checkpoint(student, x, use_reentrant=True)
    with pytest.raises(RuntimeError, match=r"'hidden0' ran without gradients.*reentrant"):
        regularizer(x)
    checkpoint(student, x, use_reentrant=False)
    regularizer(x).backward()
    assert student.hidden0[0].weight.grad.abs().sum() > 0


def test_a_frozen_layer_cannot_be_penalised():
    student, x = perceptron(), torch.randn(8, 4)
    student.hidden0.requires_grad_(requires_grad=False)
    with pytest.raises(RuntimeError, match="'hidden0' has no trainable parameter before it"):
        penalty("identity", student, moved(student), x)
    with torch.no_grad():
        assert penalty("identity", student, moved(student), x)[0] > 0
    assert penalty("identity", student, moved(student), x, ["hidden1"])[0].requires_grad


@pytest.mark.parametrize("network", ["student", "teacher"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_that_is_not_finite_is_named(network, kind):
    student, x = perceptron(), torch.randn(8, 4)
    networks = {"student": student, "teacher": moved(student)}
    with torch.no_grad():
        networks[network].hidden1[0].bias[2] = float("nan")
    words = rf"activations of {network} layer 'hidden1' must be finite: \[0, 2\] is nan"
    with pytest.raises(ValueError, match=words):
        penalty(kind, networks["student"], networks["teacher"], x)
