"""The ops as torch knows them, which outlive this package's modules.

torch takes one registration of a namespace in a process. A package that is imported again, by
`importlib.reload` or after it was removed from `sys.modules`, finds its ops registered and puts its own
rules behind them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kantorch.ops._backend import DISPATCH_KEYS

Rule = Callable[..., Any]


def _home() -> dict[str, Any]:
    """Where the registration is kept: with the namespace, which torch never drops."""
    home = vars(torch.ops.kantorch)
    if "_library" not in home:
        home["_library"] = torch.library.Library("kantorch", "DEF")  # type: ignore[no-untyped-call]
        home["_rules"] = {}
    return home


def register(
    schema: str,
    *,
    kernel: Rule,
    fake: Rule,
    vmap: Rule,
    setup_context: Rule | None,
    backward: Rule | None,
) -> Any:
    """Register an op, or put these rules behind the one of the same schema; returns the op.

    Raises:
        ImportError: another version of the package has registered the op with another schema.
    """
    name, home = schema.partition("(")[0], _home()
    rules = {"kernel": kernel, "fake": fake, "vmap": vmap}
    if backward is not None and setup_context is not None:
        rules |= {"setup_context": setup_context, "backward": backward}
    known = home["_rules"].get(name)
    if known is None:
        known = {"schema": schema} | rules
        _define(home["_library"], name, known)
        home["_rules"][name] = known
    elif known["schema"] != schema or known.keys() != {"schema", *rules}:
        msg = f"another version of kantorch has registered {known['schema']} in this process: start anew"
        raise ImportError(msg)
    known.update(rules)
    return getattr(torch.ops.kantorch, name).default


def _define(library: Any, name: str, rules: dict[str, Any]) -> None:
    qualified = f"kantorch::{name}"
    library.define(rules["schema"])
    for key in DISPATCH_KEYS:
        library.impl(name, lambda *args: rules["kernel"](*args), key)
    torch.library.register_fake(qualified, lambda *args: rules["fake"](*args), lib=library)
    torch.library.register_vmap(qualified, lambda *args: rules["vmap"](*args), lib=library)
    if "backward" in rules:
        torch.library.register_autograd(
            qualified,
            lambda ctx, *grads: rules["backward"](ctx, *grads),
            setup_context=lambda ctx, inputs, output: rules["setup_context"](ctx, inputs, output),
            lib=library,
        )
