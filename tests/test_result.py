"""OTResult: fields, statuses, check(), warnings, immutability."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import warnings

import numpy as np
import pytest
import torch

import kantorch
import laws
import oracle
import problems
from kantorch import Status
from solvers import OPTIONS, SOLVERS, draw, solver


def options(method):
    return {"max_iter": 60, "tol": 0.0} if method == "ipot" else {}


@pytest.fixture
def cost(rng):
    return torch.from_numpy(rng.uniform(size=(5, 7)))


def hard(rng):
    """Far from converged after one iteration of any method."""
    return problems.planted_permutation(rng, 30)


def solve_once(method, rng, **extra):
    problem = hard(rng)
    return laws.solve(method, problem.cost, reg=0.01, max_iter=1, **extra)


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4)], ids=str)
def test_fields_have_documented_shapes(batched, shape, method):
    lead = (2,) if batched else ()
    result = laws.solve(method, torch.rand(*lead, *shape), **options(method))
    for name, want in laws.field_shapes(lead, *shape).items():
        assert getattr(result, name).shape == want, name


def test_result_is_immutable(cost, method):
    result = laws.solve(method, cost, **options(method))
    assert isinstance(result, kantorch.OTResult)
    for name in (*laws.FIELDS, "potentials"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, name, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.another = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        del result.value


def test_fields_do_not_alias_the_inputs(cost, method):
    init = torch.zeros(5).double(), torch.zeros(7).double()
    result = laws.solve(method, cost, potentials_init=init, **options(method))
    addresses = {t.untyped_storage().data_ptr() for t in (cost, *init)}
    for name in laws.FIELDS:
        assert getattr(result, name).untyped_storage().data_ptr() not in addresses, name


def test_statuses_are_integers_with_names():
    names = [
        "OPTIMAL",
        "CONVERGED",
        "FIXED_ITERATIONS",
        "MAX_ITERATIONS",
        "PRECISION_LIMIT",
        "BAD_INPUT",
    ]
    assert [Status[name].name for name in names] == names
    assert len({int(Status[name]) for name in names}) == 6


def test_exact_is_optimal(cost):
    result = kantorch.solve(cost)
    assert result.status == Status.OPTIMAL
    assert bool(result.converged)
    assert float(result.marginal_error) < 1e-14


@pytest.mark.parametrize("method", ["sinkhorn", "ipot"])
def test_reached_tolerance_is_converged(method, cost):
    result = laws.solve(method, cost, tol=1e-3, max_iter=100000)
    assert result.status == Status.CONVERGED
    assert bool(result.converged)
    assert 0 < int(result.n_iter) < 100000
    assert float(result.marginal_error) <= 1e-3


def test_auto_means_exact_without_reg_and_sinkhorn_with(cost):
    laws.assert_same_bits(kantorch.solve(cost), kantorch.solve(cost, method="exact"))
    laws.assert_same_bits(
        kantorch.solve(cost, reg=0.1), kantorch.solve(cost, reg=0.1, method="sinkhorn")
    )


@pytest.mark.cpu  # warns
def test_one_iteration_is_reported_as_not_converged(method, rng):
    with pytest.warns(kantorch.ConvergenceWarning):
        result = solve_once(method, rng)
    assert result.status == Status.MAX_ITERATIONS
    assert not bool(result.converged)
    assert int(result.n_iter) == 1
    plan = result.plan
    error = (plan.sum(-1) - 1 / 30).abs().sum() + (plan.sum(-2) - 1 / 30).abs().sum()
    assert float(result.marginal_error) == pytest.approx(float(error), rel=1e-6, abs=1e-12)
    with pytest.raises(kantorch.ConvergenceError) as caught:
        result.check()
    assert isinstance(caught.value, RuntimeError)
    assert "max_iter" in str(caught.value), "advice that can be followed"


@pytest.mark.parametrize("count", [1, 5, 50])
def test_truncated_exact_solve_tells_the_truth(count, rng):
    problem = hard(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        result = kantorch.solve(problem.cost, problem.a, problem.b, max_iter=count)
    laws.check(result, problem.cost, problem.a, problem.b, method="exact")
    assert int(result.n_iter) <= count
    assert float(result.lower_bound) <= problem.value + 1e-10


@pytest.mark.parametrize("method", ["sinkhorn", "ipot"])
@pytest.mark.parametrize("count", [1, 2, 17])
def test_zero_tolerance_runs_exactly_the_given_iterations(count, method, cost):
    result = laws.solve(method, cost, max_iter=count, tol=0.0)
    assert result.status == Status.FIXED_ITERATIONS
    assert int(result.n_iter) == count
    assert result.check() is result


def test_fixed_iterations_go_on_after_convergence(dtype):
    result = kantorch.solve(torch.zeros(3, 3, dtype=dtype), reg=1.0, max_iter=9, tol=0.0)
    assert int(result.n_iter) == 9
    assert result.status == Status.FIXED_ITERATIONS


@pytest.mark.cpu  # warns
def test_one_warning_per_call_whatever_the_batch(rng):
    cost = torch.stack([hard(rng).cost for _ in range(5)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = kantorch.solve(cost, reg=0.01, max_iter=1)
    assert len(caught) == 1
    assert issubclass(caught[0].category, kantorch.ConvergenceWarning)
    assert issubclass(kantorch.ConvergenceWarning, Warning)
    assert "5" in str(caught[0].message), "how many problems"
    assert not bool(result.converged.any())


@pytest.mark.cpu  # warns
def test_check_fails_if_any_problem_of_the_batch_did(rng):
    cost = torch.stack([torch.zeros(30, 30).double(), hard(rng).cost])
    with pytest.warns(kantorch.ConvergenceWarning):
        result = kantorch.solve(cost, reg=0.01, max_iter=1)
    assert result.converged.tolist() == [True, False]
    with pytest.raises(kantorch.ConvergenceError, match="1"):
        result.check()


def test_success_does_not_warn(cost, method):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert laws.solve(method, cost, tol=1e-3, max_iter=100000) is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_unreachable_tolerance_is_the_limit_of_precision(dtype, rng):
    problem = problems.planted_float(rng, 20, 20).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        result = kantorch.solve(
            problem.cost, problem.a, problem.b, reg=0.05, tol=1e-30, max_iter=10**6
        )
    assert result.status == Status.PRECISION_LIMIT
    assert not bool(result.converged)
    # Close, and honest about it.
    assert 0 < float(result.marginal_error) < (1e-13 if dtype == torch.float64 else 1e-5)
    with pytest.raises(kantorch.ConvergenceError):
        result.check()


def test_converged_means_that_the_tolerance_is_met(rng):
    # Where the solver's own measure of the error rounds as coarsely as the tolerance.
    converged = 0
    for _ in range(60):
        problem = problems.planted_float(rng, 20, 30).to(torch.float32)
        tol = 10 ** rng.uniform(-7.3, -6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
            result = kantorch.solve(problem.cost, problem.a, problem.b, reg=0.1, tol=tol)
        if bool(result.converged):
            converged += 1
            assert float(result.marginal_error) <= tol * (1 + 2**-23)
    assert converged > 20


def test_lower_bound_holds_in_integer_arithmetic(method, rng):
    for seed in range(20):
        local = np.random.default_rng(seed)
        n, m = (int(k) for k in local.integers(1, 8, size=2))
        cost = local.normal(size=(n, m))
        a, b = local.dirichlet(np.ones(n)), local.dirichlet(np.ones(m))
        tensors = [torch.from_numpy(t) for t in (cost, a, b)]
        result = laws.solve(method, *tensors, reg=0.05, **options(method))
        exact = float(oracle.rational(cost, a, b).value)
        rounding = 1e-14 * np.abs(cost).max()
        assert float(result.lower_bound) <= exact + rounding
        assert float(result.lower_bound) >= cost.min() - rounding


def test_lower_bound_tightens_with_the_iterations(rng):
    problem = problems.planted_tree(rng, 10, 12)
    gaps = []
    for count in (3, 30, 3000):
        result = kantorch.solve(
            problem.cost, problem.a, problem.b, method="ipot", max_iter=count, tol=0.0
        )
        assert float(result.lower_bound) <= problem.value + 1e-12 * problem.scale * problem.mass
        gaps.append(problem.value - float(result.lower_bound))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-2 * problem.span * problem.mass


def test_potentials_hold_where_there_is_no_mass(method, rng):
    problem = problems.planted_zero_mass(rng, 9, 11)
    result = laws.solve(method, problem.cost, problem.a, problem.b, reg=0.5, **options(method))
    assert bool(torch.isfinite(result.potential_a).all() & torch.isfinite(result.potential_b).all())


def test_result_can_be_pickled_and_copied(cost, method):
    result = laws.solve(method, cost, **options(method))
    laws.assert_same_bits(pickle.loads(pickle.dumps(result)), result)
    laws.assert_same_bits(copy.deepcopy(result), result)


def test_repr_is_short_and_names_the_status(cost, method):
    result = laws.solve(method, cost, **options(method))
    assert Status(int(result.status)).name in repr(result)
    text = repr(laws.solve(method, cost.expand(50, 5, 7), **options(method)))
    assert len(text) < 2000


def test_potentials_are_a_pair(cost, method):
    result = laws.solve(method, cost, **options(method))
    f, g = result.potentials
    assert f.shape == (5,)
    assert g.shape == (7,)


def test_fields_are_read_twice_alike(cost, method):
    result = laws.solve(method, cost, **options(method))
    laws.assert_same_bits(result, result)


def test_signatures_are_the_documented_ones():
    keywords = [
        "reg",
        "reg_type",
        "method",
        "beta",
        "max_iter",
        "tol",
        "potentials_init",
        "num_threads",
    ]
    for function, first in ((kantorch.solve, ["cost"]), (kantorch.solve_sample, ["x", "y"])):
        parameters = inspect.signature(function).parameters
        assert list(parameters)[: len(first) + 2] == [*first, "a", "b"]
        for name in keywords:
            assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters["method"].default == "auto"
        assert parameters["reg_type"].default == "kl"
    assert inspect.signature(kantorch.solve_sample).parameters["metric"].default == "sqeuclidean"


@pytest.mark.parametrize("name", SOLVERS)
def test_defaults_of_torch_change_nothing(name):
    shape, solve = solver(name)
    leaf = draw(*shape).requires_grad_()

    def everything():
        result = solve(leaf)
        fields = [getattr(result, field).detach() for field in laws.FIELDS]
        return [*fields, *torch.autograd.grad(result.value, leaf)]

    want = everything()
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device("meta"):  # where a tensor made without a device would go
            got = everything()
    finally:
        torch.set_default_dtype(torch.float32)
    for place, (one, other) in enumerate(zip(got, want, strict=True)):
        assert torch.equal(one, other), place


def test_random_state_is_left_alone(cost, method):
    before = torch.get_rng_state()
    laws.solve(method, cost, **options(method))
    assert torch.equal(torch.get_rng_state(), before)


def test_version_is_a_string():
    assert isinstance(kantorch.__version__, str)


def test_plan_of_a_solve_without_gradients_has_none(method):
    cost = torch.rand(5, 6, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        result = kantorch.solve(cost, **options(method))
    for name in ("value", "value_linear", "plan"):
        assert not getattr(result, name).requires_grad, name


@pytest.mark.parametrize("changed", ["cost", "a", "b"])
def test_inputs_changed_in_place_are_noticed(method, changed):
    inputs = {
        "cost": torch.rand(5, 6, dtype=torch.float64),
        "a": torch.full((5,), 1 / 5, dtype=torch.float64),
        "b": torch.full((6,), 1 / 6, dtype=torch.float64),
    }
    result = kantorch.solve(**inputs, **options(method))
    inputs[changed].mul_(2)
    with pytest.raises(RuntimeError, match=f"{changed} was changed in place"):
        _ = result.lower_bound


@pytest.mark.parametrize("name", laws.FIELDS)
@pytest.mark.parametrize("solves", SOLVERS)
@pytest.mark.parametrize("graph", [False, True])
def test_what_a_result_hands_out_may_be_changed(graph, solves, name):
    shape, solve = solver(solves)
    result = solve(draw(*shape).requires_grad_(graph))
    before = {field: getattr(result, field).detach().clone() for field in laws.FIELDS}
    with torch.no_grad():
        getattr(result, name).zero_()
    follows = {"status": "converged"}.get(name)
    for field, kept in before.items():
        if field not in (name, follows):
            assert torch.equal(getattr(result, field), kept), field


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda result: pickle.loads(pickle.dumps(result)),
}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("twin", COPIES)
def test_a_copy_of_a_result_with_a_graph_has_its_numbers_and_no_graph(twin, name):
    shape, solve = solver(name)
    result = solve(draw(*shape).requires_grad_() * 2)
    twin = COPIES[twin](result)
    assert type(twin) is type(result)
    for field in laws.FIELDS:
        got, want = getattr(twin, field), getattr(result, field)
        assert not got.requires_grad, field
        torch.testing.assert_close(got, want.detach(), rtol=1e-14, atol=1e-16)
    assert result.value.requires_grad


@pytest.mark.parametrize("name", SOLVERS)
def test_a_shallow_copy_shares_tensors_graph_and_their_changes(name):
    shape, solve = solver(name)
    leaf = draw(*shape).requires_grad_()
    given = leaf * 2
    result = solve(given)
    twin = copy.copy(result)
    laws.assert_same_bits(twin, result)
    assert twin.value is result.value
    torch.autograd.grad(twin.value, leaf, retain_graph=True)
    with torch.no_grad():
        given.mul_(2)
    changed = "cost" if name in OPTIONS else "x"
    if name in (
        "line",
        "exact points",
    ):  # which look at no points again, but at what they made of them
        assert torch.equal(twin.lower_bound, result.lower_bound)
        return
    for one in (result, twin):
        with pytest.raises(RuntimeError, match=f"^{changed} was changed in place"):
            _ = one.lower_bound
