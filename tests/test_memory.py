"""What is not asked for is not paid for, counted in n x m buffers; nothing leaks."""

from __future__ import annotations

import sys

import pytest

from scripts import run_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Peaks of the resident set: Linux lets a process reset its own high-water mark.
SCRIPT = """
import ctypes, gc, re
import torch
import kantorch

torch.set_num_threads(2)
torch.manual_seed(0)
n = 1400
dtype = torch.{dtype}
FIXED = dict(max_iter=5, tol=0.0)

def status(field):
    with open("/proc/self/status") as file:
        return int(re.search(field + r":\\s+(\\d+) kB", file.read()).group(1)) * 1024

def measure(name, function, make, n=n):
    for _ in range(2):
        function(*make(64))  # load code, start threads
    inputs = make(n)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    kept = function(*inputs)
    top = status("VmHWM")
    gc.collect()
    print(name, *((x - before) / (n * n * dtype.itemsize) for x in (top, status("VmRSS"))), sep="\\t")

def points(k):
    return torch.rand(k, 2, dtype=dtype).requires_grad_(), torch.rand(k, 2, dtype=dtype)

def cost(k):
    return (torch.cdist(*points(k)).detach(),)

def leaf(k):
    return (cost(k)[0].requires_grad_(),)

SOLVE = dict(
    sinkhorn=lambda c: kantorch.solve(c, reg=0.05, **FIXED),
    tolerance=lambda c: kantorch.solve(c, reg=0.05, tol=1e-4),
    ipot=lambda c: kantorch.solve(c, method="ipot", **FIXED),
    exact=lambda c: kantorch.solve(c),
)
for name, solve in SOLVE.items():
    measure("value " + name, lambda c: solve(c).value, cost)
    measure("gradient " + name, lambda c: torch.autograd.grad(solve(c).value, c), leaf)
measure("newton", lambda c: kantorch.solve(c, method="ipot").value, cost)
measure("small ipot", lambda c: SOLVE["ipot"](c).value, cost, 1000)
measure("plan", lambda c: SOLVE["sinkhorn"](c).plan, cost)
eight = lambda c: torch.full((8, c.shape[0]), 1 / c.shape[0], dtype=dtype)
measure("shared", lambda c: kantorch.solve(c, eight(c), reg=0.05, **FIXED).value, cost)
SAMPLE = dict(
    sinkhorn=lambda x, y: kantorch.solve_sample(x, y, reg=0.05, **FIXED),
    tolerance=lambda x, y: kantorch.solve_sample(x, y, reg=0.05, tol=1e-4),
    ipot=lambda x, y: kantorch.solve_sample(x, y, method="ipot", **FIXED),
)
for name, solve in SAMPLE.items():
    measure("fewer points " + name, lambda x, y: solve(x, y).value, points)
    measure("points " + name, lambda x, y: solve(x, y).value, points, 2100)
    measure("points bound " + name, lambda x, y: solve(x, y).gap, points, 2100)
    measure("points gradient " + name, lambda x, y: torch.autograd.grad(solve(x, y).value, x), points, 2100)
"""

# A third of a buffer is room for the allocator, the interpreter and arrays of length n.
ROOM = 0.34


@pytest.fixture(scope="module", params=["float64", "float32"])
def buffers(request):
    """How many n x m buffers each call needs at its peak, and how many it still holds afterwards."""
    # Every large block is then mapped by itself and given back at once, instead of staying in the heap.
    text = run_script(SCRIPT.format(dtype=request.param), MALLOC_MMAP_THRESHOLD_="262144")
    lines = (line.split("\t") for line in text.splitlines())
    found = {name: (float(peak), float(held)) for name, peak, held in lines}
    return found | {"dtype": request.param}


def computed(name, buffers):
    """The size of a buffer in the dtype computed in: the exact solver computes in float64."""
    return 2 if name == "exact" and buffers["dtype"] == "float32" else 1


@pytest.mark.parametrize("name", ["sinkhorn", "tolerance", "ipot", "exact"])
def test_value_holds_no_buffer(name, buffers):
    peak, held = buffers["value " + name]
    assert held < ROOM
    # Scratch is at most one buffer of the dtype computed in.
    assert peak < computed(name, buffers) + ROOM


@pytest.mark.parametrize("name", ["sinkhorn", "tolerance", "ipot", "exact"])
def test_value_and_gradient_need_only_the_gradient(name, buffers):
    peak, held = buffers["gradient " + name]
    assert held < 1 + ROOM
    assert peak < computed(name, buffers) + ROOM


def test_small_problems_may_take_a_second_buffer_of_bounded_size(buffers):
    assert buffers["small ipot"][0] < 2 + ROOM


def test_newton_takes_the_memory_of_the_kernel(buffers):
    """Its matrix is in float64."""
    assert buffers["newton"][0] < (2 if buffers["dtype"] == "float32" else 1) + ROOM


def test_reading_the_plan_costs_one_buffer(buffers):
    assert buffers["plan"][0] < 1 + ROOM


def test_shared_cost_is_not_copied(buffers):
    peak, held = buffers["shared"]
    assert held < ROOM
    # One buffer of scratch for each of the two threads, however many problems share the cost.
    assert peak < 2 + ROOM


@pytest.mark.parametrize("name", ["sinkhorn", "tolerance", "ipot"])
@pytest.mark.parametrize("asked", ["points", "points gradient", "points bound"])
def test_points_need_no_cost_matrix(asked, name, buffers):
    name = f"{asked} {name}"
    assert buffers[name][0] < ROOM


@pytest.mark.parametrize("name", ["sinkhorn", "tolerance", "ipot"])
def test_fewer_points_may_take_a_cost_matrix_for_the_time_of_the_solve(name, buffers):
    peak, held = buffers["fewer points " + name]
    assert held < ROOM
    assert peak < 2 + ROOM


def test_calls_and_errors_do_not_leak():
    code = """
    import gc, warnings
    import torch
    import kantorch
    warnings.simplefilter("ignore")
    def rss():
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096
    cost = torch.rand(4, 20, 20, requires_grad=True)
    bad = torch.full((4, 20, 20), float("nan"))
    def once():
        for method in ({}, {"reg": 0.1}, {"method": "ipot", "max_iter": 10, "tol": 0.0}):
            result = kantorch.solve(cost, **method)
            torch.autograd.grad(result.value.sum(), cost)
            result.plan
            try:
                kantorch.solve(bad, **method)
            except ValueError:
                pass
    for _ in range(500):
        once()
    before = rss()
    for _ in range(800):
        once()
    print(rss() - before)
    """
    # 800 rounds x 6 calls: a leak of one small tensor in each would be above 5 MB.
    assert float(run_script(code)) < 2**20


def test_result_frees_its_graph():
    import gc
    import weakref

    import torch

    import kantorch

    cost = torch.rand(5, 5, requires_grad=True)
    for options in ({}, {"reg": 0.1}):
        result = kantorch.solve(cost * 1, **options)
        seen = weakref.ref(result.value)
        result.plan  # noqa: B018
        gc.disable()
        try:
            del result
            assert seen() is None, "a reference cycle keeps the graph alive"
        finally:
            gc.enable()
