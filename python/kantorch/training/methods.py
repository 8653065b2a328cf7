"""Methods by name: how they are called in tables, what they can be tuned by, when they apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kantorch.regularizers import Sum
from kantorch.training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kantorch.regularizers._regularizer import Regularizer

    Grid = Mapping[str, tuple[float, ...]]
    Builder = Callable[..., Regularizer | None]

PLUS = "+"


@dataclass(frozen=True)
class Method:
    """One row of a comparison.

    Attributes:
        name: In settings, flags and folders.
        title: In tables.
        grid: Values to choose from, by parameter.
        needs: Facts about the comparison without which the method cannot apply.
        build: Makes the penalty from whatever the driver hands to methods, and the parameters.
        optional: Parameters that may be tuned, too, but are settings otherwise.
    """

    name: str
    title: str
    grid: Grid
    needs: frozenset[str]
    build: Builder
    optional: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """All that it can be tuned by."""
        return (*self.grid, *self.optional)


class Methods:
    """The methods that a driver compares.

    A name such as `l2sp+bss` is the sum of two of them; its parameters are called `l2sp_alpha` and
    `bss_alpha`.
    """

    def __init__(self) -> None:
        self._known: dict[str, Method] = {}

    def method(
        self,
        name: str,
        *,
        title: str,
        grid: Grid | None = None,
        needs: Iterable[str] = (),
        optional: tuple[str, ...] = (),
    ) -> Callable[[Builder], Builder]:
        """Register the function below as the builder of a method.

        Args:
            name: See `Method`, as for the others.
            title: In tables.
            grid: Default values; the builder takes each parameter by name.
            needs: Facts, such as "same_width".
            optional: Parameters that the builder takes, too, if they are given.
        """

        def register(build: Builder) -> Builder:
            self._known[name] = Method(name, title, grid or {}, frozenset(needs), build, optional)
            return build

        return register

    @property
    def names(self) -> tuple[str, ...]:
        """All that are no sums, in the order in which they were registered."""
        return tuple(self._known)

    def __getitem__(self, name: str) -> Method:
        """Return a method, or a sum of several.

        Raises:
            ConfigError: If there is none of that name, or a part of a sum stands twice.
        """
        names = name.split(PLUS)
        unknown = [part for part in names if part not in self._known]
        if unknown or len(set(names)) < len(names):
            rule = f"hold names of {', '.join(self._known)}, or sums of them such as l2sp+bss"
            msg = f"methods must {rule}, got {name!r}"
            raise ConfigError(msg)
        parts = [self._known[part] for part in names]
        return parts[0] if len(parts) == 1 else _sum(name, parts)


def _sum(name: str, parts: list[Method]) -> Method:
    def build(context: Any, **params: float) -> Sum:
        penalties = [
            part.build(context, **{key: params[f"{part.name}_{key}"] for key in part.grid})
            for part in parts
        ]
        return Sum(*(penalty for penalty in penalties if penalty is not None))

    return Method(
        name,
        " + ".join(part.title for part in parts),
        {f"{part.name}_{key}": values for part in parts for key, values in part.grid.items()},
        frozenset().union(*(part.needs for part in parts)),
        build,
    )
