"""Ctrl-C ends a long solve soon, the next solve is right, and other Python threads run meanwhile."""

from __future__ import annotations

import sys
import textwrap

import pytest

from scripts import run_script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals differ")

# The promise is 200 ms. Processor time is counted, of all threads: other processes do not add to it.
LIMIT = 1.0

# wait_for_core(ident): until that thread has been inside of the compiled core for a while.
WAIT = """
import os, signal, sys, threading, time
import torch
import kantorch

OPS = os.path.dirname(kantorch.ops.__file__)

def in_core(ident):
    frame = sys._current_frames().get(ident)
    return frame is not None and frame.f_code.co_filename.startswith(OPS)

def wait_for_core(ident, give_up=lambda: False):
    seen = 0
    while seen < 4 and not give_up():
        time.sleep(0.01)
        seen = seen + 1 if in_core(ident) else 0
"""

SCRIPT = """
torch.set_num_threads({threads})
torch.manual_seed(0)
FOREVER = dict(max_iter=2**40, tol=0.0)
small = torch.rand(20, 20, dtype=torch.float64)
large = torch.rand(1500, 1500)
near = torch.cdist(torch.rand(300, 3), torch.rand(300, 3))
on_line = torch.rand(3000000, 1)
answers = lambda: torch.stack([kantorch.solve(small).value, kantorch.solve(small, reg=0.1).value])
want = answers()

def measure(name, call):
    sent, ended = [], threading.Event()
    main = threading.get_ident()
    def interrupt():
        wait_for_core(main, ended.is_set)
        if not ended.is_set():
            sent.append(time.process_time())
            os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=interrupt)
    thread.start()
    late = float("nan")  # it ended before it was interrupted
    try:
        try:
            call()
        except KeyboardInterrupt:
            late = time.process_time() - sent[0]
        ended.set()
        thread.join()
        time.sleep(0.01)
    except KeyboardInterrupt:
        thread.join()
    assert torch.equal(answers(), want), "the next solve is wrong"
    print(name, late, sep="\t", flush=True)

{calls}
"""

CALLS = {
    "sinkhorn, between points": (
        "kantorch.solve_sample(torch.rand(20000, 64), torch.rand(20000, 64), reg=1.0, **FOREVER)"
    ),
    "ipot, between points": (
        "kantorch.solve_sample(torch.rand(20000, 3), torch.rand(20000, 3), method='ipot', **FOREVER)"
    ),
    "sinkhorn, a small problem": "kantorch.solve(small, reg=0.01, **FOREVER)",
    "sinkhorn, a large problem": "kantorch.solve(large, reg=0.01, **FOREVER)",
    "sinkhorn, a batch": "kantorch.solve(small.expand(500, 20, 20), reg=0.01, **FOREVER)",
    "sinkhorn, a tolerance": (
        "kantorch.solve(large.expand(100, 1500, 1500), reg=1e-4, tol=1e-7, max_iter=2**40)"
    ),
    "ipot, a small problem": 'kantorch.solve(small, method="ipot", **FOREVER)',
    "ipot, a large problem": 'kantorch.solve(large, method="ipot", **FOREVER)',
    "exact, a large problem": "kantorch.solve(torch.cdist(torch.rand(6000, 3), torch.rand(6000, 3)))",
    "exact, a batch": "kantorch.solve(near.expand(4000, 300, 300))",
    "exact, on a line": "[kantorch.solve_sample(torch.rand(3000000, 1), on_line) for _ in range(9)]",
}


def delays(calls, threads=2):
    lines = "\n".join(f"measure({name!r}, lambda: {call})" for name, call in calls.items())
    text = run_script(WAIT + SCRIPT.format(threads=threads, calls=lines))
    return {name: float(late) for name, late in (line.split("\t") for line in text.splitlines())}


@pytest.fixture(scope="module", params=[1, 2], ids=["1 thread", "2 threads"])
def late(request):
    """Processor seconds from the signal to the exception, for every call."""
    return delays(CALLS, request.param)


@pytest.mark.parametrize("name", CALLS)
def test_interrupt_ends_a_long_solve(name, late):
    assert late[name] < LIMIT


def test_interrupt_ends_a_solve_inside_compiled_code():
    solve = "lambda c: kantorch.solve(c, reg=0.01, **FOREVER).value"
    call = f"torch.compile({solve}, backend='aot_eager')(small)"
    assert delays({"compiled": call})["compiled"] < LIMIT


def test_interrupt_ends_a_large_backward():
    leaf = "torch.rand(4, 500, 500, dtype=torch.float64, requires_grad=True)"
    loss = f"(kantorch.solve({leaf}, reg=0.05, max_iter=5, tol=0.0).plan ** 2).sum()"
    call = f"[loss.backward(retain_graph=True) for loss in [{loss}] for _ in range(10**6)]"
    assert delays({"backward": call})["backward"] < LIMIT


def test_other_python_threads_run_during_a_solve():
    """A solve without end, which only another thread can stop once it has run for a while."""
    code = """
    main, ticks = threading.get_ident(), 0
    def tick():
        global ticks
        wait_for_core(main)
        for _ in range(50):
            time.sleep(0.001)
            ticks += in_core(main)
        os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=tick)
    thread.start()
    try:
        kantorch.solve(torch.rand(300, 300), reg=0.1, max_iter=2**40, tol=0.0, num_threads=1)
    except KeyboardInterrupt:
        thread.join()
    print(ticks)
    """
    assert int(run_script(WAIT + textwrap.dedent(code))) == 50


def test_interrupt_on_the_main_thread_leaves_a_solve_on_another_alone():
    code = """
    cost = torch.rand(50, 50)
    def solve(iterations):
        return kantorch.solve(cost, reg=0.1, max_iter=iterations, tol=0.0).value
    def interrupted(iterations):
        done = []
        thread = threading.Thread(target=lambda: done.append(solve(iterations)))
        thread.start()
        wait_for_core(thread.ident, lambda: not thread.is_alive())
        during = False
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(600)
        except KeyboardInterrupt:
            during = in_core(thread.ident)
        thread.join()
        assert torch.equal(done[0], solve(iterations))
        return during
    iterations = 20000
    while not interrupted(iterations):  # it was done before the signal
        iterations *= 4
    print("done")
    """
    assert "done" in run_script(WAIT + textwrap.dedent(code))
