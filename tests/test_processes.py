"""Worker processes and Python threads solve at the same time, get the right answers and never hang."""

from __future__ import annotations

import sys

import pytest

from scripts import run_script

LOADER = """
import sys, warnings
import torch
from torch.utils.data import DataLoader
from workers import Answers, answers

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    want = torch.stack([answers(i) for i in range(16)])  # starts the threads of the parent before it forks
    loader = DataLoader(Answers(16), batch_size=4, num_workers=2, timeout=600, multiprocessing_context="{context}")
    for _ in range({rounds}):
        assert torch.equal(torch.cat(list(loader)), want)
    assert torch.equal(torch.stack([answers(i) for i in range(16)]), want)
    print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_forked_workers_solve_after_the_parent_did():
    assert "done" in run_script(LOADER.format(context="fork", rounds=3))


def test_spawned_workers_solve():
    assert "done" in run_script(LOADER.format(context="spawn", rounds=1))


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_forked_child_solves_while_the_parent_is_solving():
    code = """
    import os, threading, warnings
    import torch
    from workers import answers
    warnings.simplefilter("ignore")
    want = answers(0)
    stop = threading.Event()
    def busy():
        while not stop.is_set():
            answers(1)
    thread = threading.Thread(target=busy)
    thread.start()
    for _ in range(20):
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)  # torch's own threads do not survive a fork
            os._exit(0 if torch.equal(answers(0), want) else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
    stop.set()
    thread.join()
    print("done")
    """
    assert "done" in run_script(code)


def test_sixteen_python_threads_solve_at_once():
    code = """
    from concurrent.futures import ThreadPoolExecutor
    import torch
    from workers import answers
    want = [answers(i) for i in range(16)]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(4):
            for got, one in zip(pool.map(answers, range(16)), want):
                assert torch.equal(got, one)
    print("done")
    """
    assert "done" in run_script(code)


def test_errors_in_one_thread_leave_the_others_alone():
    code = """
    from concurrent.futures import ThreadPoolExecutor
    import torch
    import kantorch
    from workers import answers
    def work(i):
        if i % 3:
            return answers(i)
        try:
            kantorch.solve(torch.full((64, 30, 30), float("nan")), num_threads=4)
        except ValueError:
            return None
    want = [work(i) for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        for got, one in zip(pool.map(work, range(24)), want):
            assert (got is None and one is None) or torch.equal(got, one)
    print("done")
    """
    assert "done" in run_script(code)


def test_process_exits_cleanly_after_a_solve_on_another_thread():
    code = """
    import threading
    from workers import answers
    thread = threading.Thread(target=answers, args=(0,))
    thread.start()
    thread.join()
    print("done")
    """
    assert "done" in run_script(code)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_child_that_imports_only_after_the_fork_solves():
    # The child inherits what torch knows of its threads, but not the threads.
    code = """
    import os, warnings
    import torch
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    torch.rand(1000, 1000).exp()
    child = os.fork()
    if child == 0:
        import kantorch
        cost = torch.rand(8, 600, 600)
        value = kantorch.solve(cost, reg=0.1, num_threads=2).value
        os._exit(0 if bool(value.isfinite().all()) else 1)
    assert os.waitpid(child, 0)[1] == 0
    print("done")
    """
    assert "done" in run_script(code)


def test_solves_between_operations_of_torch_in_several_threads():
    code = """
    import threading
    import torch
    from workers import answers
    torch.set_num_threads(2)
    want = [answers(i) for i in range(4)]
    wrong = []
    def solve(i):
        for _ in range(30):
            torch.rand(300, 300).exp().sum()
            if not torch.equal(answers(i), want[i]):
                wrong.append(i)
    threads = [threading.Thread(target=solve, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    print("done")
    """
    assert "done" in run_script(code)


def test_a_solve_in_a_signal_handler_leaves_the_interrupted_one_alone():
    code = """
    import signal
    import torch, kantorch
    torch.manual_seed(0)
    large, small = torch.rand(900, 900), torch.rand(500, 500)
    def solve(cost, iterations):
        options = dict(reg=0.05, tol=0.0, max_iter=iterations, num_threads=2)
        return kantorch.solve(cost, **options).potential_a
    want, inner = solve(large, 400), solve(small, 20)
    found, got = [], []
    def handler(*_):
        found.append(torch.equal(solve(small, 20), inner))
        if len(found) < 4:  # set again only here: a slow handler must not interrupt itself
            signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while len(found) < 4:
        got.append(solve(large, 400))
    assert all(found), found
    assert all(torch.equal(one, want) for one in got)
    print("done")
    """
    assert "done" in run_script(code)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_operations_of_torch_work_in_a_child_forked_after_a_solve():
    code = """
    import os, warnings
    import torch, kantorch
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    kantorch.solve(torch.rand(4, 80, 80), reg=0.05, num_threads=2)
    child = os.fork()
    if child == 0:
        os._exit(0 if torch.ones(10**6).sum() == 10**6 else 1)
    assert os.waitpid(child, 0)[1] == 0
    print("done")
    """
    assert "done" in run_script(code)
