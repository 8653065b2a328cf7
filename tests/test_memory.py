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
n = {n}
dtype = torch.{dtype}

def status(field):
    with open("/proc/self/status") as file:
        return int(re.search(field + r":\\s+(\\d+) kB", file.read()).group(1)) * 1024

def peak(function):
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    kept = function()
    return (status("VmHWM") - before) / (n * n * dtype.itemsize), kept

torch.manual_seed(0)
{setup}

def run(size):
    {call}

cost_full = make(n)
run(make(64))  # load code, start threads
run(make(64))
buffers, kept = peak(lambda: run(cost_full))
print(buffers)
"""

COST = """
def make(k):
    x, y = torch.rand(k, 2, dtype=dtype), torch.rand(k, 2, dtype=dtype)
    return torch.cdist(x, y).requires_grad_({grad})
"""
POINTS = """
def make(k):
    return torch.rand(k, 2, dtype=dtype).requires_grad_({grad}), torch.rand(k, 2, dtype=dtype)
"""


def buffers(setup, call, n=2000, dtype="float64", *, grad=False):
    code = SCRIPT.format(n=n, dtype=dtype, setup=setup.format(grad=grad), call=call)
    return float(run_script(code, timeout=120))


FIXED = "reg=0.05, max_iter=5, tol=0.0"

# A third of a buffer is room for the allocator, the interpreter and arrays of length n.
ROOM = 0.34


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sinkhorn_value_needs_no_buffer(dtype):
    assert buffers(COST, f"return kantorch.solve(size, {FIXED}).value", dtype=dtype) < ROOM


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sinkhorn_value_and_gradient_need_only_the_gradient(dtype):
    call = f"return torch.autograd.grad(kantorch.solve(size, {FIXED}).value, size)"
    assert buffers(COST, call, dtype=dtype, grad=True) < 1 + ROOM


def test_ipot_value_and_gradient_need_only_the_gradient():
    call = 'return torch.autograd.grad(kantorch.solve(size, method="ipot", max_iter=5, tol=0.0).value, size)'
    assert buffers(COST, call, grad=True) < 1 + ROOM


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_exact_value_and_gradient_need_only_the_gradient(dtype):
    call = "return torch.autograd.grad(kantorch.solve(size).value, size)"
    assert buffers(COST, call, n=1200, dtype=dtype, grad=True) < 1 + ROOM


def test_reading_the_plan_costs_one_buffer():
    assert buffers(COST, f"return kantorch.solve(size, {FIXED}).plan") < 1 + ROOM


def test_shared_cost_is_not_copied():
    call = f"return kantorch.solve(size, torch.full((8, size.shape[0]), 1 / size.shape[0], dtype=dtype), {FIXED}).value"
    assert buffers(COST, call) < ROOM


def test_samples_need_no_cost_matrix_for_sinkhorn():
    assert buffers(POINTS, f"return kantorch.solve_sample(*size, {FIXED}).value") < ROOM


def test_samples_need_no_cost_matrix_for_the_gradient_of_sinkhorn():
    call = f"return torch.autograd.grad(kantorch.solve_sample(*size, {FIXED}).value, size[0])"
    assert buffers(POINTS, call, grad=True) < ROOM


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
    for _ in range(1500):
        once()
    print(rss() - before)
    """
    # 1500 rounds x 6 calls: a leak of one small tensor in each would be above 10 MB.
    assert float(run_script(code, timeout=120)) < 2**20


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
