"""What is wrong is named (argument, place, value, rule), nothing is written to, and the next call is right."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import kantorch
import laws

NAN, INF = float("nan"), float("inf")


def cost_with(value, *index, shape=(2, 3), dtype=torch.float64):
    cost = torch.arange(float(np.prod(shape)), dtype=dtype).reshape(shape)
    cost[index] = value
    return cost


def weights_with(value, index, size=3):
    weights = torch.full((size,), 1 / size, dtype=torch.float64)
    weights[index] = value
    return weights


def refuse(kind, words, *args, **kwargs):
    """The call fails with `kind`, its message holds every word, inputs keep their bits, and a good call works."""
    tensors = [
        t
        for t in (*args, *kwargs.values())
        if isinstance(t, torch.Tensor) and t.layout == torch.strided
    ]
    before = [t.clone() for t in tensors if t.device.type != "meta"]
    with pytest.raises(kind) as caught:
        kantorch.solve(*args, **kwargs)
    assert type(caught.value) is kind, "a plain error, not a subclass that means something else"
    message = str(caught.value)
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    for t, old in zip((t for t in tensors if t.device.type != "meta"), before, strict=True):
        assert torch.equal(t.nan_to_num(7.5), old.nan_to_num(7.5)), "an input was changed"
    good = kantorch.solve(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert float(good.value) == 0.0
    return message


@pytest.mark.cpu  # raises
def test_message_reads_as_documented():
    message = refuse(ValueError, [], cost_with(NAN, 1, 2))
    assert message.startswith("cost must be finite: cost[1, 2] = nan")


@pytest.mark.cpu  # raises
@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=str)
@pytest.mark.parametrize("method", ["exact", "sinkhorn", "ipot"])
def test_cost_must_be_finite(value, method, dtype):
    extra = laws.arguments(method)
    word = f"= {value}"
    refuse(
        ValueError,
        ["cost", "finite", "cost[1, 2]", word],
        cost_with(value, 1, 2, dtype=dtype),
        **extra,
    )
    everywhere = torch.full((2, 3), value, dtype=dtype)
    refuse(ValueError, ["cost", "finite", "cost[0, 0]"], everywhere, **extra)


@pytest.mark.cpu  # raises
def test_first_bad_index_comes_batch_element_first():
    cost = torch.zeros(4, 2, 3, dtype=torch.float64)
    cost[3, 0, 0] = cost[1, 1, 2] = INF
    cost[1, 1, 1] = NAN
    refuse(ValueError, ["cost[1, 1, 1]", "nan"], cost)
    refuse(ValueError, ["cost[1, 1, 1]", "nan"], cost.movedim(0, -1).contiguous().movedim(-1, 0))


@pytest.mark.cpu  # raises
def test_bad_value_is_found_at_the_end_of_a_large_batch():
    cost = torch.zeros(500, 16, 16)
    cost[499, 15, 15] = NAN
    for extra in ({}, {"reg": 0.1}, {"method": "ipot"}):
        refuse(ValueError, ["cost[499, 15, 15]"], cost, num_threads=4, **extra)


@pytest.mark.cpu  # raises
def test_bad_value_is_found_in_every_cell_of_a_view():
    for i in range(4):
        for j in range(3):
            wide = torch.zeros(4, 8)
            wide[:, 3:] = NAN  # beside the cost
            cost = wide[:, :3]
            cost[i, j] = INF
            for extra in ({}, {"reg": 0.1}, {"method": "ipot", "max_iter": 10}):
                refuse(ValueError, [f"cost[{i}, {j}]"], cost, **extra)


@pytest.mark.cpu  # raises
@pytest.mark.parametrize("value", [NAN, INF, -INF], ids=str)
def test_weights_must_be_finite(value, method):
    extra = laws.arguments(method)
    cost = torch.ones(3, 3, dtype=torch.float64)
    refuse(ValueError, ["a", "finite", "a[1]", str(value)], cost, weights_with(value, 1), **extra)
    refuse(
        ValueError, ["b", "finite", "b[2]", str(value)], cost, None, weights_with(value, 2), **extra
    )
    batch = torch.stack([weights_with(1 / 3, 0), weights_with(value, 2)])
    refuse(ValueError, ["a[1, 2]"], cost, batch, **extra)


@pytest.mark.cpu  # raises
@pytest.mark.parametrize("value", [-1.0, -1e-9])
def test_weights_must_not_be_negative(value, method):
    extra = laws.arguments(method)
    cost = torch.ones(3, 3, dtype=torch.float64)
    refuse(ValueError, ["a[0]", "-1", "non-negative"], cost, weights_with(value, 0), **extra)
    refuse(ValueError, ["b[2]", "-1", "non-negative"], cost, None, weights_with(value, 2), **extra)


def test_negative_zero_is_zero():
    cost = torch.ones(3, 3, dtype=torch.float64)
    w = torch.tensor([-0.0, 0.5, 0.5], dtype=torch.float64)
    for extra in ({}, {"reg": 0.1}, {"method": "ipot"}):
        assert float(kantorch.solve(cost, w, w, **extra).value) == pytest.approx(1.0)


@pytest.mark.cpu  # raises
@pytest.mark.parametrize("factor", [2.0, 1.001, 1.0001, 0.0])
def test_masses_must_agree(factor, method):
    cost = torch.ones(3, 3, dtype=torch.float64)
    a = weights_with(1 / 3, 0) * 3
    message = refuse(ValueError, ["mass", "a", "b"], cost, a, a * factor, **laws.arguments(method))
    numbers = [float(x) for x in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", message)]
    assert any(abs(x - 3) < 1e-3 for x in numbers), "the sum of a"
    assert any(abs(x - 3 * factor) < 1e-3 for x in numbers), "the sum of b"


@pytest.mark.cpu  # raises
def test_disagreeing_masses_name_the_problem():
    cost = torch.ones(2, 2, dtype=torch.float64)
    a = torch.tensor([[1.0, 1.0]] * 3, dtype=torch.float64)
    b = a.clone()
    b[2, 0] = 5
    refuse(ValueError, ["mass", "2", "6"], cost, a, b)


@pytest.mark.parametrize(
    ("dtype", "excess"),
    [(torch.float32, 1e-7), (torch.float32, 5e-6), (torch.float64, 1e-12), (torch.float64, 5e-6)],
)
def test_masses_may_differ_by_rounding(dtype, excess, method, rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5))).to(dtype)
    a = torch.from_numpy(rng.dirichlet(np.ones(4))).to(dtype)
    b = torch.from_numpy(rng.dirichlet(np.ones(5)) * (1 + excess)).to(dtype)
    result = laws.solve(
        method, cost, a, b, **({"max_iter": 3000, "tol": 0.0} if method == "ipot" else {})
    )
    # b is rescaled to the mass of a.
    want = b.double() * (a.double().sum() / b.double().sum())
    torch.testing.assert_close(result.marginal_b.double(), want, rtol=1e-6, atol=1e-7)
    atol = 1e-4 if method == "ipot" else 2e-5
    torch.testing.assert_close(result.marginal_a.double(), a.double(), rtol=0, atol=atol)


@pytest.mark.parametrize("method", ["exact", "sinkhorn", "ipot"])
def test_shapes_must_match(method):
    extra = laws.arguments(method)
    cost = torch.ones(2, 3, dtype=torch.float64)
    two, three = (
        torch.full((2,), 1 / 2, dtype=torch.float64),
        torch.full((3,), 1 / 3, dtype=torch.float64),
    )
    refuse(ValueError, ["a", "3", "2"], cost, three, **extra)
    refuse(ValueError, ["b", "2", "3"], cost, None, two, **extra)
    refuse(ValueError, ["a"], cost, three, two, **extra)  # swapped
    refuse(ValueError, ["a"], cost, torch.ones(1).double(), **extra)
    refuse(ValueError, ["a"], cost, torch.tensor(1.0).double(), **extra)
    refuse(ValueError, ["a"], cost, torch.ones(1, 1, 2).double(), **extra)
    refuse(ValueError, ["a"], cost.expand(4, 2, 3), torch.ones(5, 2).double() / 2, **extra)
    refuse(
        ValueError,
        ["b"],
        cost,
        torch.ones(4, 2).double() / 2,
        torch.ones(5, 3).double() / 3,
        **extra,
    )


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3, 4)], ids=str)
def test_cost_must_be_a_matrix_or_a_batch(shape):
    refuse(ValueError, ["cost", "(n, m)", str(shape)], torch.ones(shape))


@pytest.mark.parametrize(
    "shape", [(0, 3), (3, 0), (0, 0), (2, 0, 3), (2, 3, 0), (0, 0, 3)], ids=str
)
def test_no_points_is_an_error(shape, method):
    refuse(ValueError, ["empty", "cost"], torch.ones(shape), **laws.arguments(method))


@pytest.mark.parametrize(
    "dtype",
    [torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64, torch.complex128],
    ids=str,
)
def test_dtype_must_be_floating(dtype):
    refuse(TypeError, ["cost", str(dtype)], torch.ones(2, 2, dtype=dtype))
    cost = torch.ones(2, 2)
    refuse(TypeError, ["a", str(dtype)], cost, torch.ones(2, dtype=dtype))


def test_weights_must_have_the_dtype_of_the_cost():
    cost = torch.ones(2, 2)
    refuse(TypeError, ["a", "float64", "float32"], cost, torch.ones(2).double() / 2)
    refuse(TypeError, ["b", "float32", "float64"], cost.double(), None, torch.ones(2) / 2)
    refuse(TypeError, ["a", "float16"], cost, torch.ones(2).half() / 2)


@pytest.mark.parametrize(
    "value",
    [None, [[1.0, 2.0]], np.ones((2, 2)), 3.0, "cost", object()],
    ids=lambda v: type(v).__name__,
)
def test_cost_must_be_a_tensor(value):
    refuse(TypeError, ["cost"], value)


@pytest.mark.parametrize(
    "value", [[0.5, 0.5], np.ones(2) / 2, 0.5, "uniform"], ids=lambda v: type(v).__name__
)
def test_weights_must_be_tensors(value):
    refuse(TypeError, ["a"], torch.ones(2, 2), value)
    refuse(TypeError, ["b"], torch.ones(2, 2), None, value)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half, method, rng):
    cost = torch.from_numpy(rng.uniform(size=(4, 5))).to(half)
    options = {"max_iter": 50, "tol": 0.0} if method == "ipot" else {}
    got = laws.solve(method, cost, **options)
    want = laws.solve(method, cost.float(), **options)
    laws.assert_same_bits(got, want)
    weights = torch.full((4,), 0.25, dtype=half)
    laws.assert_same_bits(laws.solve(method, cost, weights, **options), want)


@pytest.mark.cpu  # raises
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_weights_that_do_not_sum_exactly_are_judged_in_their_precision(half):
    cost = torch.ones(3, 8, dtype=half)
    # 3 x 1/3 misses 1 by more than 1e-5; weights that are given are not forgiven that.
    a, b = torch.full((3,), 1.0, dtype=half) / 3, torch.full((8,), 1.0, dtype=half) / 8
    assert abs(float(a.double().sum() / b.double().sum()) - 1) > 1e-5
    refuse(ValueError, ["mass"], cost, a, b)


@pytest.mark.cpu  # raises
@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INF, -INF, -0.0], ids=str)
def test_reg_must_be_positive_and_finite(value):
    cost = torch.ones(2, 2, dtype=torch.float64)
    refuse(ValueError, ["reg", str(value).split("-")[-1]], cost, reg=value)
    refuse(ValueError, ["reg"], cost, reg=torch.tensor(value, dtype=torch.float64))
    batch = torch.tensor([1.0, value], dtype=torch.float64)
    refuse(ValueError, ["reg[1]"], cost.expand(2, 2, 2), reg=batch)


@pytest.mark.parametrize(
    "value", ["0.1", [0.1], (0.1,), object(), 1j, True], ids=lambda v: type(v).__name__
)
def test_reg_must_be_a_number_or_a_tensor(value):
    with pytest.raises(TypeError, match="reg must be"):
        kantorch.solve(torch.ones(2, 2), reg=value)


def test_reg_must_match_the_batch():
    cost = torch.ones(3, 2, 2, dtype=torch.float64)
    refuse(ValueError, ["reg", "3", "2"], cost, reg=torch.ones(2, dtype=torch.float64))
    refuse(ValueError, ["reg"], cost, reg=torch.ones(3, 1, dtype=torch.float64))


def test_reg_may_be_an_integer():
    cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    laws.assert_same_bits(kantorch.solve(cost, reg=1), kantorch.solve(cost, reg=1.0))


@pytest.mark.parametrize("value", [1e-300, 5e-324, 1e300])
def test_extreme_reg_gives_no_nan(value, rng):
    import warnings

    cost = torch.from_numpy(rng.uniform(size=(4, 5)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
        result = kantorch.solve(cost, reg=value, max_iter=200)
    assert bool(torch.isfinite(result.plan).all())
    assert bool(torch.isfinite(result.value_linear))
    rows = (result.plan.sum(-1) - 1 / 4).abs().sum() + (result.plan.sum(-2) - 1 / 5).abs().sum()
    assert float(result.marginal_error) == pytest.approx(float(rows), rel=1e-6, abs=1e-14)
    if value == 1e300:
        torch.testing.assert_close(result.plan, torch.full((4, 5), 1 / 20, dtype=torch.float64))


@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INF], ids=str)
def test_beta_must_be_positive_and_finite(value):
    refuse(ValueError, ["beta"], torch.ones(2, 2), method="ipot", beta=value)


def test_beta_must_be_a_number():
    with pytest.raises(TypeError, match="beta must be"):
        kantorch.solve(torch.ones(2, 2), method="ipot", beta="0.1")


@pytest.mark.parametrize("value", [0, -1, 2**40 + 1])
def test_max_iter_has_a_range(value, method):
    refuse(
        ValueError,
        ["max_iter", str(value)],
        torch.ones(2, 2),
        max_iter=value,
        **laws.arguments(method),
    )


def test_max_iter_may_be_huge(method):
    laws.solve(method, torch.eye(2), max_iter=2**40, **({"tol": 1e-3} if method == "ipot" else {}))


@pytest.mark.parametrize("value", [1.5, "10", [10], 10.0, True], ids=str)
def test_max_iter_must_be_an_integer(value):
    with pytest.raises(TypeError, match="max_iter must be"):
        kantorch.solve(torch.ones(2, 2), reg=0.1, max_iter=value)


@pytest.mark.parametrize("value", [-1e-3, -1.0, NAN, INF], ids=str)
def test_tol_must_not_be_negative_or_infinite(value):
    refuse(ValueError, ["tol"], torch.ones(2, 2), reg=0.1, tol=value)


@pytest.mark.parametrize("value", [0, -1])
def test_num_threads_must_be_positive(value, method):
    refuse(
        ValueError,
        ["num_threads", str(value)],
        torch.ones(2, 2),
        num_threads=value,
        **laws.arguments(method),
    )


@pytest.mark.parametrize("value", [1.5, "2", [2]], ids=str)
def test_num_threads_must_be_an_integer(value):
    with pytest.raises(TypeError, match="num_threads must be"):
        kantorch.solve(torch.ones(2, 2), num_threads=value)


@pytest.mark.parametrize("value", ["simplexx", "", "EXACT", None, 3, ["exact"]], ids=str)
def test_unknown_method_lists_the_choices(value):
    with pytest.raises(ValueError if isinstance(value, str) else TypeError) as caught:
        kantorch.solve(torch.ones(2, 2), method=value)
    for choice in ("method", "auto", "exact", "sinkhorn", "ipot"):
        assert choice in str(caught.value)


@pytest.mark.parametrize("value", ["KL", "l2", None, 3], ids=str)
def test_unknown_reg_type_lists_the_choices(value):
    with pytest.raises(ValueError if isinstance(value, str) else TypeError) as caught:
        kantorch.solve(torch.ones(2, 2), reg=0.1, reg_type=value)
    for choice in ("reg_type", "kl", "entropy"):
        assert choice in str(caught.value)


def test_unknown_keyword_is_refused():
    with pytest.raises(TypeError, match="numItermax"):
        kantorch.solve(torch.ones(2, 2), numItermax=100)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"reg": 0.1, "method": "exact"}, ["reg", "exact"]),
        ({"reg": 0.1, "method": "ipot"}, ["reg", "ipot"]),
        ({"beta": 0.1}, ["beta", "ipot"]),
        ({"beta": 0.1, "method": "exact"}, ["beta", "ipot"]),
        ({"beta": 0.1, "reg": 0.1}, ["beta", "ipot"]),
        ({"method": "sinkhorn"}, ["reg", "sinkhorn"]),
    ],
    ids=str,
)
def test_contradicting_arguments_are_refused(kwargs, words):
    refuse(ValueError, words, torch.ones(2, 2), **kwargs)


@pytest.mark.cpu  # raises
@pytest.mark.parametrize(
    ("init", "words"),
    [
        ((torch.ones(3), torch.ones(3)), ["potentials_init"]),
        ((torch.ones(2), torch.ones(2)), ["potentials_init"]),
        ((torch.tensor([NAN, 1.0]), torch.ones(3)), ["potentials_init", "finite", "nan"]),
        ((torch.ones(2), torch.tensor([0.0, INF, 1.0])), ["potentials_init", "finite", "inf"]),
    ],
    ids=["long f", "short g", "nan", "inf"],
)
def test_potentials_init_must_fit(init, words, method):
    refuse(ValueError, words, torch.ones(2, 3), potentials_init=init, **laws.arguments(method))


@pytest.mark.parametrize(
    "init", [3.0, "warm", (torch.ones(2),), (None, None), ([1.0], [2.0]), torch.ones(2)], ids=str
)
def test_potentials_init_must_be_a_pair_of_tensors(init):
    with pytest.raises(TypeError, match="potentials_init"):
        kantorch.solve(torch.ones(2, 3), reg=0.1, potentials_init=init)


def test_sparse_cost_is_refused():
    with pytest.raises(TypeError, match="cost"):
        kantorch.solve(torch.eye(3).to_sparse())


def test_quantized_cost_is_refused():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cost = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
    with pytest.raises(TypeError, match="cost"):
        kantorch.solve(cost)


def test_other_devices_are_refused_by_name():
    with pytest.raises(ValueError, match="a must be on the cost's device cpu, got meta"):
        kantorch.solve(torch.ones(2, 2), torch.ones(2, device="meta"))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mixed_devices_are_refused():
    refuse(ValueError, ["a", "cuda", "cpu"], torch.ones(2, 2), torch.ones(2, device="cuda") / 2)


def test_huge_costs_are_right(rng):
    from problems import planted_tree

    problem = planted_tree(rng, 4, 5)
    result = kantorch.solve(problem.cost * 1e305, problem.a, problem.b)
    torch.testing.assert_close(result.plan, problem.plan)


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-290, 1e-16])
def test_tiny_costs_are_right(scale, method):
    cost = (
        torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
        * scale
    )
    if method == "sinkhorn":
        with_reg = {"reg": 0.01 * scale} if scale > 1e-300 else {"reg": 1e-16}
        result = kantorch.solve(cost, **with_reg)
        assert bool(torch.isfinite(result.plan).all())
        return
    options = {"max_iter": 300, "tol": 1e-3} if method == "ipot" else {}
    if method == "ipot" and scale < 1e-295:
        pytest.skip("its step, a tenth of the mean cost, is about to leave the normal numbers")
    result = kantorch.solve(cost, method=method, **options)
    assert bool((result.plan.argmax(-1) == torch.arange(3)).all())


def test_too_large_a_plan_is_refused_where_it_is_allocated():
    # Expanded inputs cost no memory; the plan of 2^50 cells would.
    zero = torch.zeros((), dtype=torch.float64)
    cost = zero.expand(2**14, 2**18, 2**18)
    vectors = [zero.expand(2**14, 2**18)] * 4
    with pytest.raises(RuntimeError, match=r"can't allocate memory|not enough memory"):
        torch.ops.kantorch.gibbs(cost, *vectors, torch.ones(2**14, dtype=torch.float64), 1)


@pytest.mark.parametrize("extra", [{}, {"reg": 0.1}, {"method": "ipot"}], ids=str)
def test_read_only_input_is_not_written(extra):
    array = np.random.default_rng(0).uniform(size=(4, 4)).astype("float64")
    cost = torch.from_numpy(array)
    array.flags.writeable = False
    before = array.copy()
    kantorch.solve(cost, **extra, **({"tol": 0.0, "max_iter": 9} if "method" in extra else {}))
    assert (array == before).all()


def test_malformed_calls_never_crash(rng):
    """Random combinations of good and bad arguments: an answer or one of the two documented errors."""
    costs = [
        torch.ones(2, 3),
        torch.ones(2, 2, 3),
        torch.ones(0, 2, 3),
        torch.ones(3),
        torch.full((2, 3), NAN),
        torch.ones(2, 3).double(),
    ]
    weights = [
        None,
        torch.ones(2),
        torch.ones(3),
        torch.ones(2, 3),
        torch.zeros(2),
        torch.tensor([-1.0, 3.0]),
        torch.ones(2).double(),
    ]
    choices = {
        "cost": costs,
        "a": weights,
        "b": weights,
        "reg": [None, 0.1, -1.0, NAN, torch.ones(2), torch.ones(3), "x"],
        "method": ["auto", "exact", "sinkhorn", "ipot", "none"],
        "max_iter": [None, 1, 0, 7],
        "tol": [None, 0.0, 1e-3, -1.0],
        "num_threads": [None, 1, 0, 64],
        "potentials_init": [
            None,
            (torch.zeros(2), torch.zeros(3)),
            (torch.zeros(3), torch.zeros(2)),
        ],
    }
    import warnings

    answers = 0
    for _ in range(3000):
        call = {}
        for name, values in choices.items():
            # Good values come first in every list and are chosen more often.
            call[name] = values[min(int(rng.geometric(0.6)) - 1, len(values) - 1)]
        cost = call.pop("cost")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", kantorch.ConvergenceWarning)
            try:
                kantorch.solve(cost, **call)
            except (ValueError, TypeError) as error:
                assert len(str(error)) > 10  # noqa: PT017
            else:
                answers += 1
    assert 100 < answers < 3000
