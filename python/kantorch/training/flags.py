"""Flags from settings: every setting is one, and says what was given, not what is the default."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Group, Parameter
from pydantic import BaseModel, create_model, model_validator

from kantorch.training.files import unicode_name
from kantorch.training.settings import Settings


class Flags(BaseModel):
    """Settings without the rules that join several of them: a file may hold the others."""

    @model_validator(mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        """Several values are separated by commas."""
        return {name: _parts(value) for name, value in given.items()}


def _parts(value: Any, *, inside: bool = False) -> Any:
    if isinstance(value, dict):
        return {k.replace("-", "_"): _parts(part, inside=True) for k, part in value.items()}
    if isinstance(value, list):
        return [part for text in value for part in _parts(text, inside=True)]
    if isinstance(value, str):
        text = unicode_name(value)
        return [part.strip() for part in text.split(",") if part.strip()] if inside else text
    return [value] if inside else value


def flags_of(settings: type[Settings]) -> type[Flags]:
    """Make the class of a command's flags, with their help and defaults, of a class of settings."""
    fields: dict[str, Any] = {}
    for name, field in settings.model_fields.items():
        shown = Parameter(group=_group(settings, name))
        fields[name] = Annotated[field.rebuild_annotation(), shown], field
    return create_model("Flags", __base__=Flags, **fields)


def _group(settings: type[Settings], name: str) -> Group:
    """The heading of a flag in the help: the docstring of the class that has its setting first."""
    classes = [kind for kind in settings.__mro__ if issubclass(kind, Settings)]
    place, owner = next(
        (place, kind) for place, kind in enumerate(classes) if name in kind.__annotations__
    )
    title = str(owner.__doc__).partition("\n")[0].rstrip(".")
    return Group(title, sort_key=place)


def given(flags: Flags | None) -> dict[str, Any]:
    """Return the flags that stand on the command line, as plain data."""
    return {} if flags is None else flags.model_dump(mode="json", exclude_unset=True)
