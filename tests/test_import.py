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


def test_a_package_that_was_removed_can_be_imported_again():
    code = """
    import sys, warnings
    import torch
    import kantorch as first
    cost = torch.rand(4, 5, requires_grad=True)
    want = {}
    for options in ({}, {"reg": 0.1}, {"method": "ipot", "max_iter": 9, "tol": 0.0}):
        value = first.solve(cost, **options).value
        want[str(options)] = value, torch.autograd.grad(value, cost)[0]
    for again in range(2):
        for name in [name for name in sys.modules if name.split(".")[0] == "kantorch"]:
            del sys.modules[name]
        import kantorch
        assert kantorch is not first and kantorch.solve is not first.solve
        for module in (kantorch, first):  # whoever still holds the first one can go on with it
            for options in ({}, {"reg": 0.1}, {"method": "ipot", "max_iter": 9, "tol": 0.0}):
                result = module.solve(cost, **options)
                value, gradient = want[str(options)]
                assert torch.equal(result.value, value)
                assert torch.equal(torch.autograd.grad(result.value, cost)[0], gradient)
                assert torch.equal(torch.vmap(lambda c: module.solve(c, **options).value)(cost[None])[0], value)
        # The ops follow the package of today: what it warns of can be told by its own class.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kantorch.solve(torch.rand(30, 30, requires_grad=True), reg=1e-3, max_iter=1)
        assert [w.category for w in caught] == [kantorch.ConvergenceWarning]
    print("done")
    """
    assert "done" in run_script(code)


def test_every_module_can_be_reloaded():
    code = """
    import importlib, sys
    import torch
    import kantorch
    import kantorch.regularizers
    for name in [name for name in sys.modules if name.split(".")[0] == "kantorch"]:
        if not name.endswith("._core"):
            importlib.reload(sys.modules[name])
    importlib.reload(kantorch)
    cost = torch.rand(4, 5, requires_grad=True)
    kantorch.solve(cost, reg=0.1).plan.sum().backward()
    torch.vmap(lambda c: kantorch.solve(c))(cost[None]).plan
    print("done")
    """
    assert "done" in run_script(code)


def test_another_version_of_an_op_is_an_import_error_that_says_so():
    code = """
    import kantorch
    from kantorch.ops import _registry
    rule = lambda *args: None
    try:
        _registry.register("exact(Tensor cost) -> Tensor", kernel=rule, fake=rule, vmap=rule,
                           setup_context=None, backward=None)
    except ImportError as error:
        print(error)
    """
    assert run_script(code).startswith("another version of kantorch has registered exact(Tensor")
