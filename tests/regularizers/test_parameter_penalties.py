"""L2 and L2-SP."""

from __future__ import annotations

import copy

import pytest
import torch

from kantorch.regularizers import L2, L2SP
from regularizers.networks import moved, perceptron


def test_l2_is_half_the_squared_norm_of_the_trainable_parameters():
    network = perceptron()
    network.hidden0.requires_grad_(requires_grad=False)
    expected = sum(
        p.square().sum() for n, p in network.named_parameters() if not n.startswith("hidden0")
    )
    torch.testing.assert_close(L2(network, alpha=0.3)(), 0.15 * expected)


def test_l2_gradient_is_the_weights_times_alpha():
    network = perceptron()
    L2(network, alpha=0.3)().backward()
    for parameter in network.parameters():
        torch.testing.assert_close(parameter.grad, 0.3 * parameter.detach())


def test_l2sp_is_zero_at_the_start_and_follows_its_formula_later():
    network = perceptron()
    regularizer = L2SP(network, head=("head",), alpha=0.2, beta=0.4)
    start = copy.deepcopy(network.state_dict())
    assert regularizer.encoder_term().item() == 0.0
    assert L2SP(network, head=("head",), beta=0.0)().item() == 0.0
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5).add_(0.1)
    encoder = head = 0.0
    for name, value in network.state_dict().items():
        if name.startswith("head."):
            head += value.square().sum()
        else:
            encoder += (value - start[name]).square().sum()
    torch.testing.assert_close(regularizer(), 0.1 * encoder + 0.2 * head)


@pytest.mark.parametrize("as_state", [False, True])
def test_l2sp_takes_a_reference_whose_head_differs(as_state):
    network = perceptron(seed=0)
    reference = moved(network)
    reference.head = torch.nn.Linear(10, 7)
    given = reference.state_dict() if as_state else reference
    regularizer = L2SP(network, given, head=("head",))
    assert regularizer.encoder_term().item() > 0
    trained = {n: p for n, p in reference.state_dict().items() if not n.startswith("head.")}
    network.load_state_dict(trained, strict=False)
    assert regularizer.encoder_term().item() == 0.0


def test_l2sp_without_head_covers_everything():
    network = perceptron()
    regularizer = L2SP(network, head=())
    assert regularizer.head_term().item() == 0.0
    with torch.no_grad():
        network.head.bias.add_(2.0)
    assert regularizer().item() == pytest.approx(6.0, rel=1e-6)  # half of 3 times 2^2


@pytest.mark.parametrize("make", [L2, lambda network: L2SP(network, head=("head",))])
def test_penalties_own_no_part_of_the_network(make):
    network = perceptron()
    regularizer = make(network)
    assert list(regularizer.parameters()) == []
    assert all(name.startswith("start.") for name in regularizer.state_dict())
    own = {value.data_ptr() for value in regularizer.state_dict().values()}
    assert own.isdisjoint(value.data_ptr() for value in network.state_dict().values())


def test_l2sp_made_while_the_body_is_frozen_sees_it_once_it_trains():
    network = perceptron()
    network.hidden0.requires_grad_(requires_grad=False)
    regularizer = L2SP(network, head=("head",))
    network.hidden0.requires_grad_(requires_grad=True)
    with torch.no_grad():
        network.hidden0[0].bias.add_(1.0)
    assert regularizer.encoder_term().item() == network.hidden0[0].bias.numel()


def test_l2sp_leaves_out_what_is_frozen_now():
    network = perceptron()
    regularizer = L2SP(network, moved(network), head=("head",))
    network.requires_grad_(requires_grad=False)
    network.head.requires_grad_(requires_grad=True)
    assert regularizer.encoder_term().item() == 0.0


def test_l2sp_resumes_with_the_start_that_it_left_from(tmp_path):
    network = perceptron(seed=0)
    regularizer = L2SP(network, head=("head",))
    with torch.no_grad():
        network.hidden0[0].weight.add_(0.5)
    torch.save([network.state_dict(), regularizer.state_dict()], tmp_path / "saved.pt")
    saved_network, saved_regularizer = torch.load(tmp_path / "saved.pt")
    resumed = perceptron(seed=1)
    resumed.load_state_dict(saved_network)
    penalty = L2SP(resumed, head=("head",))  # made from the trained weights
    assert penalty.encoder_term().item() == 0.0
    penalty.load_state_dict(saved_regularizer)
    assert penalty.encoder_term().item() == regularizer.encoder_term().item() > 0.0
    assert "start.hidden0.0.weight" in saved_regularizer


def test_l2sp_of_an_averaged_trainer_watches_the_averaged_network():
    network = perceptron()
    holder = torch.nn.ModuleDict({"network": network, "penalty": L2SP(network, head=("head",))})
    averaged = torch.optim.swa_utils.AveragedModel(holder)
    with torch.no_grad():
        network.hidden0[0].weight.add_(1.0)
    averaged.update_parameters(holder)  # the first update copies
    with torch.no_grad():
        network.hidden0[0].weight.add_(1.0)
    assert averaged.module["penalty"].encoder_term().item() == pytest.approx(
        network.hidden0[0].weight.numel()
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda network: torch.nn.utils.parametrizations.weight_norm(network.hidden0[0]),
            r"'hidden0\.0\.weight' is gone",
        ),
        (
            lambda network: setattr(network, "hidden0", torch.nn.Linear(4, 1)),
            r"'hidden0\.0\.weight' is gone",
        ),
        (
            lambda network: network.hidden0.__setitem__(0, torch.nn.Linear(4, 1)),
            r"'hidden0\.0\.weight' is \(1, 4\) and was",
        ),
        (
            lambda network: network.add_module("extra", torch.nn.Linear(2, 2)),
            r"'extra\.weight' has none",
        ),
    ],
    ids=["weight_norm", "other layer", "other shape", "new layer"],
)
def test_l2sp_names_the_parameter_that_is_not_what_it_was(change, words):
    network = perceptron()
    regularizer = L2SP(network, head=("head",))
    change(network)
    with pytest.raises(ValueError, match=words):
        regularizer()


@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this build of torch has no torch.distributed"
)
def test_l2sp_refuses_sharded_parameters_by_name(tmp_path):
    from torch.distributed.fsdp import fully_shard  # of every supported release, from 2.6 on

    network = perceptron()
    regularizer = L2SP(network, head=("head",))
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        fully_shard(network, mesh=mesh)
        with pytest.raises(ValueError, match=r"'hidden0\.0\.weight' is sharded"):
            regularizer()
    finally:
        torch.distributed.destroy_process_group()


def test_the_empty_name_is_the_whole_network():
    network = perceptron()
    regularizer = L2SP(network, head=("",), beta=0.4)
    torch.testing.assert_close(regularizer(), L2(network, alpha=0.4)())
    assert regularizer.encoder_term().item() == 0.0


def test_l2sp_takes_any_new_head():
    network = perceptron()
    regularizer = L2SP(network, head=("head",))
    network.head = torch.nn.Linear(10, 7)
    expected = network.head.weight.square().sum() + network.head.bias.square().sum()
    torch.testing.assert_close(regularizer.head_term(), expected)
    assert regularizer.encoder_term().item() == 0.0


def test_a_copied_trainer_watches_its_own_network():
    network = perceptron()
    holder = torch.nn.ModuleDict({"network": network, "penalty": L2SP(network, head=("head",))})
    twin = copy.deepcopy(holder)
    with torch.no_grad():
        network.hidden0[0].weight.add_(1.0)
    assert twin["penalty"].encoder_term().item() == 0.0
    assert holder["penalty"].encoder_term().item() > 0.0


def test_l2sp_moves_with_its_owner():
    network = perceptron()
    holder = torch.nn.ModuleDict({"network": network, "penalty": L2SP(network, head=("head",))})
    holder.double()
    assert holder["penalty"]().dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": ("nothing",)}, "nothing"),
        ({"head": "head"}, "sequence"),
        ({"head": (), "alpha": -1.0}, "alpha"),
        ({"head": (), "beta": float("nan")}, "beta"),
        ({"head": (), "reference": {}}, "hidden0.0.weight"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        L2SP(perceptron(), **options)


def test_bad_shape_in_the_reference_names_both():
    with pytest.raises(ValueError, match=r"\(7, 4\) there and \(6, 4\)"):
        L2SP(perceptron(), perceptron(widths=(7, 10)), head=("head",))


def test_l2_refuses_a_frozen_network():
    with pytest.raises(ValueError, match="trainable"):
        L2(perceptron().requires_grad_(requires_grad=False))


@pytest.mark.filterwarnings("ignore:Complex modules")
def test_complex_parameters_count_by_their_size():
    model = torch.nn.Linear(1, 1, bias=False).to(torch.complex64)
    torch.nn.init.constant_(model.weight, 1j)
    assert L2(model)().item() == 0.5
    penalty = L2SP(model, head=[])
    with torch.no_grad():
        model.weight.add_(2j)
    assert penalty().item() == pytest.approx(2.0)
