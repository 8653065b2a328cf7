"""Which classes of some data a task has: by label, by name, by manufacturer, or all."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from kantorch.training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    Names = Mapping[str, int]
    Groups = Mapping[str, str]

ALL = "all"
_GROUP = "manufacturer"


def _numbers(value: Any) -> Any:
    """Labels stay numbers where they come as text, from a command line."""
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, (list, tuple)):
        return value
    return [int(v) if isinstance(v, str) and v.strip().isdigit() else v for v in value]


Classes = Annotated[
    tuple[int | str, ...], Field(strict=False, min_length=1), BeforeValidator(_numbers)
]


def by_label(classes: tuple[int | str, ...]) -> set[int]:
    """The classes that are named by their labels."""
    return {label for label in classes if isinstance(label, int)}


def choose_classes(
    setting: str, wanted: tuple[int | str, ...], names: Names, groups: Groups
) -> tuple[int, ...]:
    """Return the labels of the classes that a setting names, in its order.

    Args:
        setting: Its name, for the message.
        wanted: Labels and names; "all"; "manufacturer=NAME" and "manufacturer!=NAME".
        names: The label of each class by its name.
        groups: The manufacturer of each class, by the class's name; empty: there are none.

    Raises:
        ConfigError: If there is no such class, a class is named twice, or there are fewer than two.
    """
    found: list[int] = []
    labels = set(names.values())
    for one in wanted:
        if isinstance(one, int):
            if one not in labels:
                msg = f"{setting} must hold labels of the data, got {one}"
                raise ConfigError(msg)
            found.append(one)
        elif one == ALL:
            found += names.values()
        elif one in names:
            found.append(names[one])
        elif groups and one.startswith(_GROUP):
            found += _of_group(setting, one, names, groups)
        else:
            near = difflib.get_close_matches(one, [*names, *groups.values()], n=3)
            hint = f"; near it: {', '.join(map(repr, dict.fromkeys(near)))}" if near else ""
            msg = f"{setting} must hold classes of the data, got {one!r}{hint}"
            raise ConfigError(msg)
    if len(set(found)) < len(found) or len(found) < 2:
        msg = f"{setting} must hold two or more different classes, got {wanted}"
        raise ConfigError(msg)
    return tuple(found)


def _of_group(setting: str, text: str, names: Names, groups: Groups) -> list[int]:
    rest = text.removeprefix(_GROUP)
    other = rest.startswith("!=")
    maker = rest.removeprefix("!=" if other else "=")
    if maker not in groups.values():
        known = ", ".join(sorted(set(groups.values())))
        msg = f"{setting} must name a manufacturer of the data, got {text!r} of {known}"
        raise ConfigError(msg)
    return [label for name, label in names.items() if (groups[name] == maker) != other]
