"""README and docs/w1.md: their code runs, with what it takes for granted."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from kantorch.critics import MinMaxTree
from kantorch.regularizers import FilterWasserstein, KernelPrior

ROOT = Path(__file__).parents[1]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def run(code, **given):
    """Run a block and return its names; they were made by `exec`, so that a fault names the page."""
    exec(compile(code, "page", "exec"), given)  # noqa: S102
    return given


def network():
    layers = {"layer4": nn.Conv2d(1, 3, 3), "flat": nn.Flatten(), "head": nn.LazyLinear(2)}
    made = nn.Sequential()
    for name, layer in layers.items():
        made.add_module(name, layer)
    made(torch.randn(1, 1, 5, 5))
    return made


def batches():
    return [(torch.randn(4, 1, 5, 5), torch.tensor([0, 1, 0, 1])) for _ in range(2)]


def test_the_readmes_solve_gives_the_plan_as_gradient():
    solve, _ = blocks("README.md")
    names = run(solve)
    torch.testing.assert_close(names["cost"].grad, names["result"].plan)


def test_the_readmes_penalty_joins_the_loss():
    _, penalty = blocks("README.md")
    names = run(penalty, network=network(), loader=batches(), cross_entropy=cross_entropy)
    assert names["loss"].requires_grad


def test_a_solver_of_w1_is_fitted_and_measured(capsys):
    solver, _ = blocks("docs/w1.md")
    assert "iterations=500" in solver
    outcome = run(solver.replace("iterations=500", "iterations=20"))["outcome"]
    assert str(outcome.estimate) in capsys.readouterr().out
    assert outcome.errors.cosine > 0


def test_critics_step_between_the_networks_steps():
    _, critics = blocks("docs/w1.md")
    model = network()
    names = run(
        critics,
        FilterWasserstein=FilterWasserstein,
        MinMaxTree=MinMaxTree,
        model=model,
        prior=KernelPrior.from_models([network()]),
        batches=batches(),
        cross_entropy=cross_entropy,
    )
    names["loss"].backward()
    assert model.layer4.weight.grad.any()
