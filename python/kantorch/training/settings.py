"""Settings: plain data that pydantic checks, from YAML, flags or code; an error names the setting."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kantorch.training._yaml import load_yaml
from kantorch.training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from typing_extensions import Self

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0, lt=2**62)]  # torch's generators take no more than 2^63
Real = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

# What a run folder's config.yaml holds besides the settings ends so.
DERIVED = ("driver", "world_size", "_sha256")


class Settings(BaseModel):
    """What all drivers can be told.

    A driver's settings extend this class; each field is a line of its YAML and a flag of its
    command, and the text below it is the help.

    Raises:
        ConfigError: If a setting is unknown, of the wrong type or out of range; the message names it,
            its value and the rule.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        use_attribute_docstrings=True,
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """What Lightning is to use."""
    num_threads: Count = 1
    """CPU threads of a process; the embedded networks are too small for more than one."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(sentence(error, type(self).model_fields)) from None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], preset: str | None = None) -> Self:
        """Make settings from plain data, such as a YAML file holds.

        What a run folder's config.yaml holds besides the settings is left out.

        Args:
            mapping: Settings by name.
            preset: The name of the settings that the mapping changes.

        Raises:
            ConfigError: If a setting is unknown, of the wrong type or out of range.
        """
        if preset is not None and preset not in cls.presets:
            msg = f"preset must be one of {', '.join(cls.presets)}, got {preset!r}"
            raise ConfigError(msg)
        known = {} if preset is None else cls.presets[preset]
        own = {str(k): v for k, v in mapping.items() if not str(k).endswith(DERIVED)}
        return cls(**(dict(known) | own))

    @classmethod
    def from_yaml(cls, path: Path, preset: str | None = None) -> Self:
        """Read a YAML file, as data only.

        Raises:
            ConfigError: If the file cannot be read or holds a wrong setting.
        """
        return cls.from_mapping(load_yaml(path), preset)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain data that `from_mapping` reads back."""
        return self.model_dump(mode="json")


def sentence(error: ValidationError, names: Iterable[str] = ()) -> str:
    """Say in one sentence what the first fault of some settings is, which have these names."""
    fault = error.errors(include_url=False)[0]
    places = [str(place) for place in fault["loc"]]
    name = ".".join([*places[:1], *(place for place in places[1:] if not _TYPE.match(place))])
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, list(names), n=1)
        return f"unknown setting {name!r}" + (f"; did you mean {near[0]}?" if near else "")
    rule = fault["msg"].removeprefix("Value error, ")
    for words, short in _WORDS.items():
        rule = re.sub(words, short, rule)
    if fault["type"] == "value_error" and not name:  # a rule of several settings tells which
        return rule
    return f"{name} {rule}, got {fault['input']!r}"


# Of a value that may be of several types, pydantic says which one it tried last.
_TYPE = re.compile(r"(constrained-)?(int|str|float)$|literal\[")
_WORDS = {
    "(Input|Tuple) should": "must",
    " after validation, not .*": "",
    "greater than or equal to": ">=",
    "greater than": ">",
    "less than or equal to": "<=",
    "less than": "<",
}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the settings that differ, one line each; empty if none does."""
    names = list(dict.fromkeys([*old, *new]))
    missing = "(absent)"
    return [
        f"{name}: {old.get(name, missing)} -> {new.get(name, missing)}"
        for name in names
        if old.get(name, missing) != new.get(name, missing)
    ]
