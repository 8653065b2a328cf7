"""W1 between kernels: its value against an assignment, lemma 3.1, and the prior as a file."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from kantorch.regularizers import FilterWasserstein, KernelPrior, kernels
from regularizers.networks import moved

KERNELS = ("slice", "filter")


def convolutional(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Flatten(), nn.Linear(4, 3)
    ).to(dtype)


def assignment(x, y):
    cost = torch.cdist(x, y).detach().numpy()
    return cost[linear_sum_assignment(cost)].mean()


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_is_the_assignment_of_kernels(kernel):
    source = convolutional()
    model = moved(source)
    penalty = FilterWasserstein(model, KernelPrior.from_models([source], kernel=kernel), alpha=0.5)
    value = penalty()
    expected = {
        name: assignment(
            kernels(model.get_submodule(name).weight, kernel),
            kernels(source.get_submodule(name).weight, kernel),
        )
        for name in ("0", "2")
    }
    assert value.item() == pytest.approx(0.5 * sum(expected.values()), rel=1e-9)
    distances = penalty.distances
    assert distances.keys() == expected.keys()
    assert all(distances[n].item() == pytest.approx(expected[n], rel=1e-9) for n in expected)


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_is_at_most_the_mean_and_the_root_mean_square_displacement(kernel):
    """Lemma 3.1 of the thesis, for sets of equal size."""
    source = convolutional()
    for seed in range(5):
        model = moved(source, seed=seed)
        penalty = FilterWasserstein(model, KernelPrior.from_models([source], kernel=kernel))
        penalty()
        for name, distance in penalty.distances.items():
            displacement = (
                kernels(model.get_submodule(name).weight, kernel)
                - kernels(source.get_submodule(name).weight, kernel)
            ).norm(dim=1)
            root = displacement.square().mean().sqrt()
            assert distance <= displacement.mean() * (1 + 1e-12)
            assert displacement.mean() <= root * (1 + 1e-12)


def test_permuted_kernels_cost_nothing():
    source = convolutional()
    model = copy.deepcopy(source)
    with torch.no_grad():
        model[0].weight.copy_(source[0].weight.flip(0))
    prior = KernelPrior.from_models([source], layers=["0"])
    assert FilterWasserstein(model, prior)().item() == 0


def test_its_gradient_is_that_of_finite_differences():
    source = convolutional()
    model = moved(source)
    penalty = FilterWasserstein(model, KernelPrior.from_models([source]), alpha=1.0)
    penalty().backward()
    for parameter in (model[0].weight, model[2].weight):
        direction = torch.randn_like(parameter)
        with torch.no_grad():
            step = 1e-6
            parameter.add_(step * direction)
            above = penalty().item()
            parameter.sub_(2 * step * direction)
            below = penalty().item()
            parameter.add_(step * direction)
        slope = (parameter.grad * direction).sum().item()
        assert (above - below) / (2 * step) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_descent_brings_the_kernels_to_the_prior():
    model = convolutional(seed=3)
    prior = KernelPrior.from_models([convolutional(seed=s) for s in range(2)])
    penalty = FilterWasserstein(model, prior, alpha=1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    start = penalty().item()
    for _ in range(60):
        optimizer.zero_grad()
        penalty().backward()
        optimizer.step()
    assert penalty().item() < 0.6 * start


def test_samples_stand_for_a_layer():
    source = convolutional()
    model = moved(source)
    prior = KernelPrior.from_models([source], layers=["0"])
    whole = FilterWasserstein(model, prior, alpha=1.0)().item()
    drawn = FilterWasserstein(model, prior, alpha=1.0, samples=6)
    torch.manual_seed(1)
    values = [drawn().item() for _ in range(40)]
    assert len(set(values)) > 30
    assert sum(values) / 40 > whole  # W1 of samples is larger on average
    torch.manual_seed(1)
    assert drawn().item() == values[0]


def test_scale_weights_are_the_inverse_spread_of_the_prior():
    model = convolutional()
    prior = KernelPrior.from_models([model, moved(model)])
    penalty = FilterWasserstein(model, prior, layer_weights="scale")
    for name, points in prior.samples.items():
        assert penalty.layer_weights[name] == pytest.approx(1 / torch.pdist(points).mean().item())


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_prior_survives_its_file(tmp_path, kernel):
    prior = KernelPrior.from_models([convolutional(seed=s) for s in range(5)], kernel=kernel)
    prior.save(tmp_path / "prior.pt")
    again = KernelPrior.load(tmp_path / "prior.pt")
    assert again.kernel == kernel
    assert again.samples.keys() == prior.samples.keys() == {"0", "2"}
    assert all(torch.equal(again.samples[n], prior.samples[n]) for n in prior.samples)
    assert len(prior.samples["0"]) == 5 * (12 if kernel == "slice" else 6)


class Hostile:
    def __reduce__(self):
        return print, ("code of the file was run",)


def written(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


PRIOR = {"format": 1, "kernel": "slice", "samples": {"0": torch.ones(3, 9)}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        pickle.dumps(Hostile()),
        written(Hostile()),
        written(PRIOR)[:-200],
        written({"a": 1}),
        written([PRIOR]),
        written(torch.ones(2)),
        written(PRIOR | {"format": 2}),
        written({"format": 1}),
        written(PRIOR | {"kernel": "column"}),
        written(PRIOR | {"kernel": 3}),
        written(PRIOR | {"samples": {"0": [1.0]}}),
        written(PRIOR | {"samples": {"0": torch.ones(3)}}),
        written(PRIOR | {"samples": torch.ones(3, 9)}),
    ],
    ids=range(15),
)
def test_a_file_that_holds_no_prior_is_named(tmp_path, content, capsys):
    path = tmp_path / "prior.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"file that KernelPrior\.save wrote, got '.*prior\.pt'"):
        KernelPrior.load(path)
    assert capsys.readouterr().out == ""


def test_a_prior_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        KernelPrior.load(tmp_path / "prior.pt")


def test_the_prior_stands_in_the_state_dict():
    model = convolutional()
    first = FilterWasserstein(model, KernelPrior.from_models([convolutional(seed=1)]))
    second = FilterWasserstein(model, KernelPrior.from_models([convolutional(seed=2)]))
    assert first().item() != second().item()
    second.load_state_dict(first.state_dict())
    assert first().item() == second().item()


def test_adaptive_weights_go_on_from_the_state_dict():
    model, source = convolutional(0), convolutional(1)

    def made():
        prior = KernelPrior.from_models([source])
        return FilterWasserstein(model, prior, layer_weights="adaptive")

    penalty, resumed = made(), made()
    penalty()
    resumed.load_state_dict(penalty.state_dict())
    for each in (penalty, resumed):
        each.step()
    assert resumed.layer_weights == penalty.layer_weights != made().layer_weights


def test_a_prior_of_all_convolutions_has_transposed_ones():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 6, 2))
    assert list(KernelPrior.from_models([model]).samples) == ["0", "1"]


def test_faults_name_layer_and_network():
    model = convolutional()
    prior = KernelPrior.from_models([model])
    with pytest.raises(ValueError, match=r"'0': it is \(6, 3, 3, 3\) in models\[1\]"):
        KernelPrior.from_models([model, nn.Sequential(nn.Conv2d(3, 6, 3))], layers=["0"])
    with pytest.raises(ValueError, match="layers must name modules of the model, got '2'"):
        FilterWasserstein(model[:2], prior)
    with pytest.raises(ValueError, match="have 9 coordinates and 25 in the model"):
        FilterWasserstein(nn.Sequential(nn.Conv2d(2, 6, 5)), KernelPrior({"0": torch.ones(3, 9)}))
    with pytest.raises(ValueError, match="at least one network"):
        KernelPrior.from_models([nn.Linear(2, 2)])
    with pytest.raises(ValueError, match=r"samples\['0'\] must be finite: \[1, 0\] is nan"):
        KernelPrior({"0": torch.tensor([[1.0], [float("nan")]])})
    with pytest.raises(ValueError, match=r"name every layer of the prior, got \['2'\] missing"):
        FilterWasserstein(model, prior, layer_weights={"0": 1.0})
    with torch.no_grad():
        model[0].weight[1, 0, 2, 2] = float("inf")
    with pytest.raises(ValueError, match=r"model layer '0' must be finite: \[1, 0, 2, 2\] is inf"):
        FilterWasserstein(model, prior)()


@pytest.mark.parametrize("tool", ["prune", "weight_norm", "spectral_norm"])
@pytest.mark.filterwarnings("ignore")
def test_weights_that_older_tools_make_before_each_pass_are_those_of_now(tool):
    model = nn.Sequential(nn.Conv2d(1, 4, 3))
    apply = {
        "prune": lambda m: nn.utils.prune.identity(m, "weight"),
        "weight_norm": nn.utils.weight_norm,
        "spectral_norm": nn.utils.spectral_norm,
    }[tool]
    apply(model[0]).eval()
    model(torch.zeros(1, 1, 4, 4))
    penalty = FilterWasserstein(model, KernelPrior.from_models([model]), alpha=1.0)
    assert penalty().item() == pytest.approx(0, abs=1e-6)
    trained = model[0].weight_g if tool == "weight_norm" else model[0].weight_orig
    with torch.no_grad():
        trained.add_(torch.arange(4.0).view(4, 1, 1, 1) + 1)
        model(torch.zeros(1, 1, 4, 4))
    for _ in range(2):
        value = penalty()
        (gradient,) = torch.autograd.grad(
            value, trained
        )  # the graph is there, and its own each time
        assert value.item() > 0.05
        assert bool(gradient.any())


def test_what_makes_one_output_of_a_transposed_convolution():
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(layer.weight.numel()).view_as(layer.weight))
    prior = KernelPrior.from_models([layer], layers=[""], kernel="filter")
    points = prior.samples[""]
    assert points.shape == (6, 18)
    # Output 4 is the second of group 1, whose inputs are 2 and 3.
    torch.testing.assert_close(points[4], layer.weight[2:, 1].detach().flatten())
