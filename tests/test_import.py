"""Importing is cheap and quiet: no optional dependency, no device, no file, no output."""

from __future__ import annotations

import sys

from scripts import run_script


def test_import_loads_only_torch_numpy_and_the_standard_library():
    code = """
    import sys
    import torch, numpy
    before = set(sys.modules)
    import kantorch
    new = {name.split(".")[0] for name in set(sys.modules) - before}
    print(*sorted(new))
    """
    new = set(run_script(code).split())
    # _core may register helpers of its binding generator under a private name.
    foreign = {m for m in new - {"kantorch", "torch", "numpy"} if m not in sys.stdlib_module_names}
    assert not {m for m in foreign if not m.startswith("_")}


def test_import_does_not_load_the_compiler_or_the_training_extras():
    code = """
    import sys
    import torch
    before = set(sys.modules)
    import kantorch
    heavy = ["torch._dynamo", "torch._inductor", "lightning", "sklearn", "matplotlib", "scipy", "ot", "pandas"]
    heavy += ["torchvision", "tensorboard", "sympy", "kantorch.training", "kantorch.cli"]
    print([name for name in heavy if name in sys.modules and name not in before])
    """
    assert run_script(code).strip() == "[]"


def test_first_solve_loads_no_compiler():
    code = """
    import sys
    import torch
    import kantorch
    kantorch.solve(torch.rand(3, 3, requires_grad=True), reg=0.1).value.backward()
    print("torch._dynamo" in sys.modules, "torch._inductor" in sys.modules)
    """
    assert run_script(code).split() == ["False", "False"]


def test_import_prints_nothing_and_starts_no_thread():
    code = """
    import threading
    import torch
    import kantorch
    assert threading.active_count() == 1
    """
    assert run_script(code) == ""


def test_import_touches_no_cuda_device():
    code = """
    import torch
    import kantorch
    kantorch.solve(torch.rand(3, 3))
    print(torch.cuda.is_initialized())
    """
    assert run_script(code).strip() == "False"


def test_import_works_with_warnings_as_errors():
    code = """
    import warnings
    import torch
    warnings.simplefilter("error")
    import kantorch
    kantorch.solve(torch.rand(3, 3))
    print("done")
    """
    assert "done" in run_script(code)


def test_import_needs_no_optional_dependency():
    code = """
    import sys
    for name in ("scipy", "ot", "sklearn", "matplotlib", "lightning", "torchvision", "torchmetrics", "yaml", "cyclopts"):
        sys.modules[name] = None  # importing it now fails
    import torch
    import kantorch
    import kantorch.regularizers
    cost = torch.rand(3, 3, requires_grad=True)
    for options in ({}, {"reg": 0.1}, {"method": "ipot", "max_iter": 9, "tol": 0.0}):
        kantorch.solve(cost, **options).value.backward()
    print("done")
    """
    assert "done" in run_script(code)


def test_native_library_does_not_link_torch():
    code = """
    import sys
    import kantorch
    if sys.platform == "linux":
        import subprocess
        from kantorch import _core
        text = subprocess.run(["ldd", _core.__file__], capture_output=True, text=True).stdout
        assert "torch" not in text and "libc10" not in text and "gomp" not in text and "iomp" not in text, text
    print("done")
    """
    assert "done" in run_script(
        code.replace("from kantorch import _core", "import kantorch._core as _core")
    )


def test_public_names_are_documented():
    import inspect

    import kantorch

    for name in (
        "solve",
        "solve_sample",
        "OTResult",
        "Status",
        "ConvergenceWarning",
        "ConvergenceError",
    ):
        assert inspect.getdoc(getattr(kantorch, name)), name
