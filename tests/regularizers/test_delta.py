"""DELTA is the attended squared distance of feature maps, and its attention finds what matters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kantorch.regularizers import DELTA, Layer, channel_attention
from regularizers.networks import moved, perceptron


def convolutional(dtype=torch.float64):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).to(dtype)


def test_it_is_zero_at_the_start_but_for_the_head():
    student = convolutional()
    penalty = DELTA(student, layers=["0"], head=["4"], beta=0.5)
    x = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    student(x)
    head = sum(p.square().sum() for p in student[4].parameters())
    torch.testing.assert_close(penalty(x), 0.25 * head)


def test_it_follows_its_formula():
    teacher = convolutional()
    student = moved(teacher)
    attention = torch.softmax(torch.randn(4, dtype=torch.float64), 0)
    x = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    of_student, of_teacher = student[:1](x), teacher[:1](x)
    expected = 0.0
    for b in range(6):
        for c in range(4):
            distance = (of_student[b, c] - of_teacher[b, c]).square().sum()
            expected = expected + 4 * attention[c] * distance / 36
    penalty = DELTA(student, teacher, layers=["0"], attention={"0": attention}, alpha=0.3)
    student(x)
    torch.testing.assert_close(penalty(x), 0.15 * expected)


def test_equal_attention_is_none():
    student, teacher = perceptron(), moved(perceptron())
    x = torch.randn(5, 4)
    values = []
    for attention in (None, {"hidden0": torch.full((6,), 1 / 6)}):
        penalty = DELTA(student, copy.deepcopy(teacher), layers=["hidden0"], attention=attention)
        student(x)
        values.append(penalty(x))
        penalty.close()
    torch.testing.assert_close(*values)


def test_attention_goes_to_the_channel_that_decides():
    network = nn.Sequential(nn.Identity(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[0.0, 4.0, 0.0], [0.0, -4.0, 0.1]]))
    x = torch.randn(64, 3)
    y = (x[:, 1] < 0).long()
    attention = channel_attention(network, [(x[:32], y[:32]), (x[32:], y[32:])], layers=["0"])
    assert attention["0"].argmax() == 1
    torch.testing.assert_close(attention["0"].sum(), torch.tensor(1.0))


def test_attention_leaves_the_network_as_it_was():
    network = convolutional(torch.float32)
    network.insert(1, nn.BatchNorm2d(4))
    network[1].eval()
    before = copy.deepcopy(network.state_dict())
    batch = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    channel_attention(network, [batch], layers=["0"])
    assert network.training
    assert not network[1].training
    assert not network[0]._forward_hooks
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_attention_and_references_stand_in_the_state_dict():
    student = perceptron()
    attention = {"hidden0": torch.softmax(torch.randn(6), 0)}
    first = DELTA(student, moved(student), layers=["hidden0"], attention=attention)
    other = {"hidden0": torch.full((6,), 1 / 6)}
    second = DELTA(student, moved(student, seed=9), layers=["hidden0"], attention=other)
    second.load_state_dict(first.state_dict())
    x = torch.randn(5, 4)
    student(x)
    torch.testing.assert_close(first(x), second(x))


def test_terms_sum_to_the_value_whatever_layers_are_called():
    for layers, names in ((["hidden0"], {"hidden0", "head"}), (["head"], {"head", "head weights"})):
        student = perceptron()
        penalty = DELTA(student, moved(student), layers=layers, head=["head"], beta=0.5)
        student(torch.randn(5, 4))
        value = penalty()
        assert penalty.terms.keys() == names
        torch.testing.assert_close(sum(penalty.terms.values()), value.detach())


@pytest.mark.parametrize("head", [["1", "1.0"], ["1.0", "1", "1"], ["1", "2"]])
def test_what_is_in_the_head_twice_counts_once(head):
    inner = nn.Linear(4, 4, bias=False)
    student = nn.Sequential(nn.Linear(4, 4), nn.Sequential(inner), nn.Linear(4, 4, bias=False))
    student[2].weight = inner.weight  # tied
    penalty = DELTA(student, layers=["0"], head=head, beta=0.5)
    student(torch.randn(5, 4))
    torch.testing.assert_close(penalty(), 0.25 * inner.weight.square().sum())


def test_faults_name_layer_and_shapes():
    student = perceptron()
    x = torch.randn(5, 4)
    penalty = DELTA(student, layers=["hidden0"], attention={"hidden0": torch.ones(5)})
    student(x)
    with pytest.raises(ValueError, match=r"'hidden0' has 6 channels, .* shape \(5,\)"):
        penalty(x)
    with pytest.raises(ValueError, match=r"attention must hold a weight .* 'hidden1'"):
        DELTA(student, layers=["hidden1"], attention={"hidden0": torch.ones(6)})
    with pytest.raises(ValueError, match="head must name modules of the student, got 'nose'"):
        DELTA(student, layers=["hidden1"], head=["nose"])
    with pytest.raises(ValueError, match="teacher must share no parameter"):
        DELTA(student, student, layers=["hidden1"])
    with pytest.raises(ValueError, match="batches must hold at least one"):
        channel_attention(student, [], layers=["hidden0"])


def test_attention_is_the_same_at_a_modules_input_and_with_channels_last():
    """A layer's output is what the next one takes; a channel is the same wherever it stands."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    batch = torch.randn(32, 5, 4), torch.randint(3, (32, 5))

    def loss(outputs, labels):
        return nn.functional.cross_entropy(outputs.flatten(0, 1), labels.flatten())

    layers = [Layer("1", channel_dim=2), Layer("2", of="input", channel_dim=-1)]
    found = channel_attention(network, [batch], layers=layers, loss=loss)
    assert torch.equal(found["1"], found["2"])
    assert found["1"].shape == (6,)
    flat = channel_attention(network, [(batch[0].flatten(0, 1), batch[1].flatten())], layers=["1"])
    torch.testing.assert_close(flat["1"], found["1"])
    with pytest.raises(ValueError, match="channel_dim must be given for layer '1'"):
        channel_attention(network, [batch], layers=["1"], loss=loss)


class Recurrent(nn.Module):
    """A layer that returns a tuple, and one that is called by keyword."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(4, 3, batch_first=True)
        self.head = nn.Linear(3, 2)
        self.idle = nn.Linear(2, 2)

    def forward(self, x):
        states, _ = self.gru(x)
        return self.head(input=states[:, -1])


def test_attention_to_layers_that_return_tuples_or_are_called_by_keyword():
    torch.manual_seed(0)
    network, x, y = Recurrent(), torch.randn(8, 5, 4), torch.randint(2, (8,))
    batches = [(x, y)]
    by_output = channel_attention(network, batches, layers=[Layer("gru", item=0, channel_dim=2)])
    by_input = channel_attention(network, batches, layers=[Layer("head", of="input")])
    torch.testing.assert_close(by_output["gru"], by_input["head"])
    with torch.no_grad():
        losses = []
        whole = nn.functional.cross_entropy(network(x), y)
        for channel in range(3):
            states = network.gru(x)[0][:, -1].clone()
            states[:, channel] = 0
            losses.append(nn.functional.cross_entropy(network.head(states), y) - whole)
        growth = torch.stack(losses)
        standard = (growth - growth.mean()) / growth.std(correction=0)
    torch.testing.assert_close(by_input["head"], torch.softmax(standard / 5, 0))
    with pytest.raises(ValueError, match="'idle' did not"):
        channel_attention(network, batches, layers=["idle"])
