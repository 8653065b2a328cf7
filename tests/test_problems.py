"""The known answers are right: every generator against integer arithmetic, which knows no tolerance."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
from problems import catalogue


@pytest.mark.parametrize("problem", catalogue(), ids=repr)
def test_known_value_is_the_rational_optimum(problem):
    cost, a, b = problem.cost.numpy(), problem.a.numpy(), problem.b.numpy()
    exact = oracle.rational(cost, a, b)
    if problem.integer:
        assert float(exact.value) == problem.value
    # The value of real-valued problems is itself computed in floating point.
    assert abs(float(exact.value) - problem.value) <= 1e-13 * problem.scale * max(problem.mass, 1)


@pytest.mark.parametrize("problem", [p for p in catalogue() if p.plan is not None], ids=repr)
def test_known_plan_has_the_marginals_and_the_value(problem):
    np.testing.assert_allclose(problem.plan.sum(1), problem.a, rtol=1e-14)
    np.testing.assert_allclose(problem.plan.sum(0), problem.b, rtol=1e-14)
    value = float((problem.plan * problem.cost).sum())
    assert abs(value - problem.value) <= 1e-13 * problem.scale * max(problem.mass, 1)


@pytest.mark.parametrize("problem", [p for p in catalogue() if p.potential_a is not None], ids=repr)
def test_known_potentials_are_feasible_and_tight(problem):
    slack = problem.cost - problem.potential_a[:, None] - problem.potential_b
    assert slack.min() >= -1e-14 * problem.scale
    dual = float(problem.a @ problem.potential_a + problem.b @ problem.potential_b)
    assert abs(dual - problem.value) <= 1e-13 * problem.scale * problem.mass


@pytest.mark.parametrize("seed", range(5))
def test_highs_agrees_with_integer_arithmetic(seed):
    rng = np.random.default_rng(seed)
    cost, a, b = rng.normal(size=(5, 7)), rng.uniform(size=5), rng.uniform(size=7)
    exact = float(oracle.rational(cost, a, b).value)
    assert abs(oracle.highs(cost, a, b) - exact) < 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_pot_agrees_with_integer_arithmetic(seed):
    pytest.importorskip("ot")
    rng = np.random.default_rng(seed)
    cost, a, b = rng.normal(size=(6, 4)), rng.uniform(size=6), rng.uniform(size=4)
    b *= a.sum() / b.sum()
    assert abs(oracle.pot(cost, a, b) - float(oracle.rational(cost, a, b).value)) < 1e-12


def test_rational_bound_of_optimal_potentials_is_tight():
    rng = np.random.default_rng(0)
    cost, a, b = rng.integers(0, 9, size=(4, 6)) / 4, np.full(4, 3.0), np.full(6, 2.0)
    exact = oracle.rational(cost, a, b)
    assert oracle.rational_bound(cost, a, b, np.array([float(v) for v in exact.g])) == exact.value
    assert oracle.rational_bound(cost, a, b, np.zeros(6)) <= exact.value


def test_ipot_references_agree_in_both_domains():
    rng = np.random.default_rng(0)
    cost, a, b = rng.uniform(size=(5, 7)), rng.uniform(0.1, 1, 5), rng.uniform(0.1, 1, 7)
    b *= a.sum() / b.sum()
    f, g = oracle.ipot_potentials(cost, a, b, 0.3, 20)
    plan = np.exp((f[:, None] + g - cost) * 20 / 0.3)
    np.testing.assert_allclose(plan, oracle.ipot(cost, a, b, 0.3, 20), rtol=1e-11)


def test_ipot_reference_approaches_the_optimum():
    rng = np.random.default_rng(1)
    cost = rng.uniform(size=(6, 6))
    a = np.full(6, 1 / 6)
    plan = oracle.ipot(cost, a, a, 0.05, 2000)
    assert abs((plan * cost).sum() - float(oracle.rational(cost, a, a).value)) < 1e-9


def test_sinkhorn_reference_agrees_with_pot():
    ot = pytest.importorskip("ot")
    rng = np.random.default_rng(2)
    cost, a, b = rng.uniform(size=(5, 7)), rng.uniform(0.1, 1, 5), rng.uniform(0.1, 1, 7)
    a, b = a / a.sum(), b / b.sum()
    plan = ot.sinkhorn(a, b, cost, 0.1, method="sinkhorn_log", stopThr=1e-14, numItermax=10**4)
    np.testing.assert_allclose(oracle.sinkhorn(cost, a, b, 0.1, 2000).plan, plan, atol=1e-12)
