"""Settings as YAML: data only, numbers as JSON writes them, and no setting twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from kantorch.training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class _Loader(yaml.SafeLoader):
    """The safe loader, with powers of ten as numbers and repeated keys as errors."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice; PyYAML takes the last of them."""
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key
            if name in seen:
                fault = f"{key.value!r} stands twice, here for the second time"
                raise yaml.constructor.ConstructorError(None, None, fault, key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """The safe dumper, which sets quotes around what the loader would not take for a name."""


for _cls in (_Loader, _Dumper):
    # 1e-3 is a number in JSON and YAML 1.2; YAML 1.1, which PyYAML reads, wants 1.0e-3.
    _cls.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file, in UTF-8, as data only.

    Raises:
        ConfigError: If the file cannot be read, is no mapping, or holds a key twice.
    """
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        try:
            node = loader.get_single_node()
            # Deep: a list that holds itself is an error.
            content = None if node is None else loader.construct_object(node, deep=True)
        finally:
            loader.dispose()
    except Exception as error:
        # PyYAML lets errors of every kind pass, such as that of the date 2001-99-99.
        reason = str(error) or type(error).__name__
        msg = f"cannot read the configuration {path}: {reason}"
        raise ConfigError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} must hold settings as 'name: value', got {type(content).__name__}"
        raise ConfigError(msg)
    return content


def dump_yaml(mapping: Mapping[str, Any]) -> str:
    """Write a mapping as YAML, in its own order and in ASCII."""
    text: str = yaml.dump(
        dict(mapping), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=88
    )
    return text
