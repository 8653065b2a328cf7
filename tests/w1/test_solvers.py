"""Every solver: what it learns of easy pairs, its conventions, determinism, and its faults."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch

import kantorch
from kantorch.critics import slopes
from kantorch.w1 import FunnelPair, bounds, make_solver, register, run, solvers
from kantorch.w1.networks import CriticSolver

NAMES = ("clip", "discrete", "gp", "lp", "ls", "mm", "mmb", "mmr", "sn", "so", "tree")
SHIFT = torch.tensor([1.5, -2.0])  # of length 2.5


def near(n, generator):
    return torch.randn(n, 2, generator=generator)


def shifted(n, generator):
    return near(n, generator) + SHIFT


def small(name, iterations=60, **settings):
    networks = {} if name == "discrete" else {"learning_rate": 1e-2 if name == "so" else 5e-3}
    if name in ("gp", "lp", "ls", "mm", "mmb", "mmr", "sn", "so"):
        networks["hidden"] = (32, 32)
    if name == "discrete":
        iterations = 1
    return make_solver(name, iterations=iterations, batch=128, **(networks | settings))


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fitted():
    """Solvers of W1(N(SHIFT, I), N(0, I)) = 2.5, fitted once."""
    done = {}

    def get(name):
        if name not in done:
            steps = 60 if name in ("mm", "mmr", "so") else 150  # of which each is dear
            done[name] = small(name, steps).fit(shifted, near)
        return done[name]

    return get


def test_every_solver_is_found_by_its_name():
    assert tuple(solvers()) == NAMES
    for name, solver in solvers().items():
        assert solver.name == name
        assert type(make_solver(name)) is solver


def test_a_translation_costs_its_length(name, fitted):
    """The potential of P grows along the way from Q to P, and its gradient points there."""
    solver = fitted(name)
    generator = torch.Generator().manual_seed(1)
    x, y = shifted(1000, generator), near(1000, generator)
    estimate = solver.estimate(x, y)
    assert estimate.lower < 2.5 < estimate.upper
    assert estimate.value > 0
    gradient = solver.gradient(x).mean(0)
    cosine = torch.nn.functional.cosine_similarity(gradient, SHIFT, dim=0)
    assert cosine > (0.8 if name in ("clip", "sn", "ls") else 0.95)
    if name not in ("clip", "sn", "ls"):  # which know no slope, or do not reach 1
        assert estimate.value == pytest.approx(2.5, rel=0.15)
    if name != "clip":
        assert estimate.dual == pytest.approx(2.5, rel=0.35 if name in ("sn", "ls") else 0.15)


def test_a_fitted_solver_is_copied_and_pickled(name, fitted):
    solver = fitted(name)
    x = near(50, torch.Generator().manual_seed(1))
    for twin in (copy.deepcopy(solver), pickle.loads(pickle.dumps(solver))):
        assert torch.equal(twin.potential(x), solver.potential(x))
        assert torch.equal(twin.gradient(x), solver.gradient(x))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_solver_is_fitted_whatever_the_mode(name, mode):
    generator = torch.Generator().manual_seed(1)
    x, y = shifted(64, generator), near(64, generator)
    plain = small(name, 3).fit(x, y)
    with mode():
        x, y = x.clone(), y.clone()
        solver = small(name, 3).fit(x, y)
        gradient = solver.gradient(x)
        value = solver.estimate(x, y).value
    assert torch.equal(gradient, plain.gradient(x))
    assert value == plain.estimate(x, y).value
    assert small(name, 3).fit(lambda n, _: x[:n], lambda n, _: y[:n]).gradient(x).isfinite().all()


def test_the_potential_and_its_gradient_agree(name, fitted):
    solver = fitted(name)
    x = shifted(200, torch.Generator().manual_seed(2))
    values, gradient = solver.potential(x), solver.gradient(x)
    assert values.shape == (200,)
    assert gradient.shape == (200, 2)
    assert not values.requires_grad
    assert not gradient.requires_grad
    if name == "mmr":  # which reads it off the map
        torch.testing.assert_close(gradient.norm(dim=1), torch.ones(200))
        return
    step = 1e-2 * torch.nn.functional.normalize(torch.randn(200, 2), dim=1)
    rise = solver.potential(x + step) - solver.potential(x - step)
    slope = 2 * (gradient * step).sum(1)
    assert (rise - slope).abs().median() < 1e-3 * slope.abs().max() + 1e-5


def test_asking_changes_nothing(name, fitted):
    solver = fitted(name)
    generator = torch.Generator().manual_seed(2)
    x, y = shifted(100, generator), near(100, generator)
    first = solver.estimate(x, y), solver.potential(x)
    solver.gradient(x), solver.dual(x, y)
    again = solver.estimate(x, y), solver.potential(x)
    assert first[0] == again[0]
    assert torch.equal(first[1], again[1])


def test_a_seed_decides_everything(name):
    x = shifted(50, torch.Generator().manual_seed(3))

    def potential(seed):
        solver = small(name, 4, seed=seed).fit(shifted, near)
        return solver.potential(x)

    torch.manual_seed(11)
    before = torch.get_rng_state()
    first = potential(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(12)
    assert torch.equal(potential(0), first)
    assert not torch.equal(potential(1), first)


def test_asking_on_the_way_does_not_change_the_way(name):
    x, y = shifted(50, torch.Generator().manual_seed(3)), near(50, torch.Generator().manual_seed(4))
    seen = []

    def look(iteration, solver):
        seen.append(iteration)
        solver.gradient(x), solver.estimate(x, y)

    watched = small(name, 4).fit(shifted, near, on_step=look)
    assert seen == list(range(1, watched.iterations + 1))
    assert torch.equal(watched.potential(x), small(name, 4).fit(shifted, near).potential(x))


def test_fitting_needs_no_gradients_around_it(name):
    with torch.no_grad():
        solver = small(name, 2).fit(shifted, near)
    assert torch.equal(
        solver.potential(torch.zeros(2, 2)),
        small(name, 2).fit(shifted, near).potential(torch.zeros(2, 2)),
    )


def test_finite_sets_are_sampled(name):
    generator = torch.Generator().manual_seed(5)
    solver = small(name, 3).fit(shifted(40, generator), near(30, generator))
    assert solver.potential(torch.zeros(2, 2)).isfinite().all()


def test_it_computes_in_the_dtype_of_the_samples(name):
    solver = small(name, 2).fit(
        lambda n, g: shifted(n, g).double(), lambda n, g: near(n, g).double()
    )
    x = torch.zeros(3, 2, dtype=torch.float64)
    assert solver.potential(x).dtype == solver.gradient(x).dtype == torch.float64


def test_settings_are_shown(name):
    solver = make_solver(name, seed=3)
    assert "seed=3" in repr(solver)
    named = {field.name for field in dataclasses.fields(solver) if field.init}
    assert {"iterations", "batch", "seed"} <= named


def test_nothing_is_known_before_fit(name):
    for ask in ("potential", "gradient"):
        with pytest.raises(RuntimeError, match="no potential before fit"):
            getattr(make_solver(name), ask)(torch.zeros(3, 2))
    with pytest.raises(RuntimeError, match="no potential before fit"):
        make_solver(name).estimate(torch.zeros(3, 2), torch.zeros(3, 2))


def test_faults_are_named(name, fitted):
    for setting in ({"iterations": 0}, {"batch": 1}):
        ((key, _),) = setting.items()
        with pytest.raises(ValueError, match=f"{key} of solver '{name}' must be"):
            make_solver(name, **setting)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 2\), got \(4, 3\)"):
        fitted(name).potential(torch.zeros(4, 3))
    with pytest.raises(
        TypeError, match=r"x must have the dtype torch.float32 of .* got torch.float64"
    ):
        fitted(name).gradient(torch.zeros(4, 2).double())
    with pytest.raises(TypeError, match="p and q must give points of one dtype"):
        small(name).fit(near, torch.zeros(4, 2).double())
    with pytest.raises(ValueError, match="p and q must give points"):
        small(name).fit(near, lambda n, g: torch.zeros(n, 3))
    with pytest.raises(ValueError, match=r"q must be finite: q\[0, 1\] = nan"):
        small(name).fit(near, torch.tensor([[0.0, float("nan")]]))
    with pytest.raises(
        ValueError, match=r"p and q must give points .*, got \(128, 2\) and \(9, 2\)"
    ):
        small(name).fit(near, lambda n, g: torch.zeros(9, 2))
    with pytest.raises(TypeError, match="in float16"):
        small(name).fit(torch.zeros(4, 2).half(), torch.zeros(4, 2).half())


def test_no_points_have_no_potential_and_no_gradient(name, fitted):
    none = torch.zeros(0, 2)
    assert fitted(name).potential(none).shape == (0,)
    assert fitted(name).gradient(none).shape == (0, 2)


def test_samples_may_be_of_bfloat16(name):
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert small(name).fit(x, x + 1).potential(x).isfinite().all()


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("clip", {"bound": 0.0}),
        ("gp", {"weight": -1.0}),
        ("lp", {"weight": -1.0}),
        ("sn", {"power_steps": 0}),
        ("ls", {"epsilon": 0.0}),
        ("mm", {"map_steps": 0}),
        ("gp", {"learning_rate": 0.0}),
    ],
)
def test_own_settings_are_checked(name, setting):
    ((key, _),) = setting.items()
    with pytest.raises(ValueError, match=f"{key} of solver '{name}' must be"):
        make_solver(name, **setting)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="name must be"):
        make_solver("wgan")
    with pytest.raises(ValueError, match="penalty must be"):
        make_solver("ls", penalty="l1")
    with pytest.raises(TypeError, match="bound"):
        make_solver("gp", bound=1.0)


def test_a_loss_that_is_not_finite_stops():
    with pytest.raises(FloatingPointError, match="'lp' is nan at iteration 100"):
        small("lp", 300).fit(near, lambda n, g: near(n, g) / 0)


def test_a_solver_is_added_by_a_class():
    @register
    @dataclasses.dataclass(kw_only=True, eq=False)
    class Mine(CriticSolver):
        name = "mine"

    try:
        assert type(make_solver("mine", iterations=1).fit(near, shifted)) is Mine
    finally:
        from kantorch.w1 import registry

        del registry._solvers["mine"]


def test_clipped_weights_are_in_the_box(fitted):
    assert all(p.abs().max() <= 0.04 for p in fitted("clip").critic.parameters())


@pytest.mark.parametrize("name", ["sn", "so", "tree", "discrete"])
def test_slopes_are_at_most_one(name, fitted):
    solver = fitted(name)
    x = 3 * torch.randn(500, 2)
    norm = solver.gradient(x).norm(dim=1)
    assert norm.max() < 1 + (1e-2 if name == "sn" else 1e-4)  # power iterations are on their way
    if name in ("tree", "discrete"):
        torch.testing.assert_close(norm, torch.ones(500), rtol=0, atol=1e-5)


@pytest.mark.parametrize("group_size", [None, 2])
def test_sorted_groups_have_a_size(group_size):
    solver = small("so", 5, group_size=group_size).fit(shifted, near)
    assert solver.critic.group_size == group_size
    assert slopes(solver.critic, torch.randn(50, 2)).max() <= 1 + 1e-4


@pytest.mark.parametrize("penalty", ["l2", "entropic"])
def test_the_soft_constraint_holds_softly(penalty):
    """E_P f + E_Q g is of the size of W1, which is 2.5."""
    solver = small("ls", 200, penalty=penalty).fit(shifted, near)
    generator = torch.Generator().manual_seed(1)
    x, y = shifted(1000, generator), near(1000, generator)
    assert 1 < solver.dual(x, y) < 3  # an entropic penalty costs even where nothing is violated


@pytest.mark.parametrize("penalty", ["l2", "entropic"])
def test_penalties_of_the_constraint_are_those_of_the_formula(penalty):
    solver = make_solver("ls", penalty=penalty, epsilon=0.2)
    excess = torch.tensor([-1.0, 0.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    expected = {
        "l2": excess.clamp(min=0) ** 2 / 0.8,
        "entropic": 0.2 * (excess / 0.2).exp(),
    }[penalty]
    torch.testing.assert_close(solver._punished(excess), expected)
    far = torch.tensor([1e4], requires_grad=True)
    solver._punished(far).backward()
    assert far.grad.isfinite().all()


def test_learnt_maps_take_one_side_towards_the_other(fitted):
    """Along the rays; how far is not decided before the potential has its optimum."""
    generator = torch.Generator().manual_seed(1)
    x, y = shifted(500, generator), near(500, generator)
    with torch.no_grad():
        up = (fitted("mm").transport_map(y) - y).mean(0)  # from Q to P
        down = (fitted("mmr").transport_map(x) - x).mean(0)  # from P to Q
    for moved, way in ((up, SHIFT), (down, -SHIFT)):
        assert torch.nn.functional.cosine_similarity(moved, way, dim=0) > 0.95
        assert 0.4 < moved.norm() / way.norm() < 1.6


def test_the_batch_transform_is_the_minimum_over_the_batch():
    solver = small("mmb", 2).fit(shifted, near)
    x, y, f = torch.randn(30, 2), torch.randn(20, 2), torch.randn(30)
    minimum = (torch.cdist(y, x) - f).amin(1)
    torch.testing.assert_close(solver._transform(x, y, f), minimum, rtol=1e-5, atol=1e-5)
    f = solver.potential(x)
    minimum = (torch.cdist(y, x) - f).amin(1)
    expected = (f.mean() + minimum.mean()).item()
    assert solver.dual(x, y) == pytest.approx(expected, rel=1e-5)


def test_the_discrete_potential_is_optimal_between_its_batches():
    x, y = shifted(60, torch.Generator().manual_seed(1)), near(60, torch.Generator().manual_seed(2))
    # Each set is drawn whole: the sampler gives its points as they are.
    solver = make_solver("discrete", batch=60).fit(lambda n, g: x, lambda n, g: y)
    w1 = kantorch.solve_sample(x, y, metric="euclidean").value.item()
    estimate = solver.estimate(x, y)
    assert estimate.value == pytest.approx(w1, rel=1e-5)
    assert estimate.dual == pytest.approx(w1, rel=1e-5)


def test_bounds_stand_beside_every_estimate(name, fitted):
    generator = torch.Generator().manual_seed(1)
    x, y = shifted(200, generator), near(300, generator)
    estimate = fitted(name).estimate(x, y)
    assert (estimate.lower, estimate.upper) == bounds(x, y)
    f, g = fitted(name).potential(x).double(), fitted(name).potential(y).double()
    assert estimate.value == pytest.approx((f.mean() - g.mean()).item())
    expected = (f.var() / 200 + g.var() / 300).sqrt().item()
    assert estimate.standard_error == pytest.approx(expected)


def test_a_run_measures_an_exact_potential_as_exact():
    pair = FunnelPair.published(4, 4)

    class Oracle(CriticSolver):
        name = "oracle"

        def _build(self, x, y):
            pass

        def _step(self, draw):
            return torch.zeros(())

        def _potential(self, x):
            return pair.potential(x)

    outcome = run(Oracle(iterations=4, seed=5), pair, samples=1000, history=2)
    assert outcome.errors.cosine == pytest.approx(1, abs=1e-6)
    assert outcome.errors.squared == pytest.approx(0, abs=1e-6)
    assert outcome.slopes == pytest.approx((1, 1), abs=1e-5)
    assert [iteration for iteration, _ in outcome.history] == [2, 4]
    value, error = outcome.estimate.value, outcome.estimate.standard_error
    assert abs(value - outcome.truth.value) < 4 * error
    assert outcome.history[-1][1] == pytest.approx(value, rel=1e-5)
    assert outcome.estimate.lower < outcome.truth.value < outcome.estimate.upper


@pytest.mark.parametrize("setting", [{"samples": 1}, {"history": -1}])
def test_a_run_checks_its_settings(setting):
    ((key, _),) = setting.items()
    with pytest.raises(ValueError, match=f"{key} must be >= "):
        run(small("lp"), FunnelPair.published(2, 4), **setting)
