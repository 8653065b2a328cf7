"""The settings of a run: plain data, checked, with an error that names the setting."""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from kantorch.training._yaml import load_yaml
from kantorch.training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# What a run folder's config.yaml holds besides the settings.
DERIVED = ("world_size", "data_sha256")
REGULARIZERS = ("none", "l2", "l2sp", "identity", "uniform", "optimal")


def default_alphas() -> dict[str, tuple[float, ...]]:
    """Strengths to choose from, around the useful ones on the bundled digits."""
    return {
        "l2": (0.003, 0.01, 0.03, 0.1),
        "l2sp": (0.0001, 0.001, 0.01, 0.1),
        "identity": (0.003, 0.01, 0.03, 0.1),
        "uniform": (0.01, 0.03, 0.1, 0.3),
        "optimal": (0.003, 0.01, 0.03, 0.1),
    }


@dataclass(frozen=True)
class TransferConfig:
    """Settings of `kantorch transfer`.

    Attributes:
        data: "digits" (bundled with scikit-learn), or an .npz file with `images` (N, height,
            width), (N, channels, height, width) or (N, height, width, channels) and integer
            `labels` (N,).
        image_layout: Of images with channels: "channels_first", "channels_last", or "auto", which
            goes by the one axis of at most four entries.
        source_classes: Labels of the task that is learnt first.
        target_classes: Labels of the task that is fine-tuned on, none of them a source class.
        labels_per_class: Training examples per target class.
        validation_per_class: Validation examples per target class; they choose the strengths.
        test_fraction: Share of each target class kept for the test, in (0, 1).
        data_seed: Draws the test part and the source's split.
        channels: Widths of the three convolutions; the last is the penultimate layer's.
        layers: Layers that the transport regularizers compare: block1, block2, block3, pool.
        pretrain_steps: Mini-batches on the source task.
        pretrain_batch_size: Examples per mini-batch there.
        pretrain_learning_rate: Learning rate there; a tenth of it after two thirds of the steps.
        steps: Mini-batches of one fine-tuning.
        batch_size: Examples per mini-batch.
        learning_rate: Learning rate; a tenth of it after two thirds of the steps.
        momentum: Of stochastic gradient descent, in [0, 1).
        shift: Augmentation: images move by up to this many pixels each way.
        rounds: Each training is cut into so many parts; after each it is validated and saved.
        regularizers: Which to compare, of none, l2, l2sp, identity, uniform, optimal.
        alphas: Strengths to choose from, per regularizer.
        head_beta: L2-SP's strength on the head.
        seeds: One fine-tuning each: they draw labelled examples, the new head and the batches.
        solver: Of the optimal plan: "ipot" or "exact".
        solver_max_iter: IPOT's proximal steps.
        accelerator: What Lightning is to use: "auto", "cpu", "cuda", "mps".
        num_threads: CPU threads; the embedded networks are too small for more than one.
    """

    data: str = "digits"
    image_layout: Literal["auto", "channels_first", "channels_last"] = "auto"
    source_classes: tuple[int, ...] = (0, 1, 2, 3, 4)
    target_classes: tuple[int, ...] = (5, 6, 7, 8, 9)
    labels_per_class: int = 5
    validation_per_class: int = 20
    test_fraction: float = 0.5
    data_seed: int = 0
    channels: tuple[int, ...] = (16, 32, 64)
    layers: tuple[str, ...] = ("pool",)
    pretrain_steps: int = 500
    pretrain_batch_size: int = 64
    pretrain_learning_rate: float = 0.05
    steps: int = 100
    batch_size: int = 32
    learning_rate: float = 0.05
    momentum: float = 0.9
    shift: int = 1
    rounds: int = 5
    regularizers: tuple[str, ...] = REGULARIZERS
    alphas: dict[str, tuple[float, ...]] = field(default_factory=default_alphas)
    head_beta: float = 0.01
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    solver: Literal["ipot", "exact"] = "ipot"
    solver_max_iter: int = 100
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    num_threads: int = 1

    def __post_init__(self) -> None:
        """Check every setting.

        Raises:
            ConfigError: Naming the setting, its value and the rule.
        """
        for item in dataclasses.fields(self):
            _require_type(item.name, getattr(self, item.name), _HINTS[item.name])
        for name in _AT_LEAST_ONE:
            _require(getattr(self, name) >= 1, name, "be >= 1", getattr(self, name))
        for name in ("data_seed", "shift", "head_beta"):
            _require(getattr(self, name) >= 0, name, "be >= 0", getattr(self, name))
        for name in ("learning_rate", "pretrain_learning_rate"):
            _require(getattr(self, name) > 0, name, "be > 0", getattr(self, name))
        _require(0 < self.test_fraction < 1, "test_fraction", "be in (0, 1)", self.test_fraction)
        _require(0 <= self.momentum < 1, "momentum", "be in [0, 1)", self.momentum)
        for name in ("source_classes", "target_classes"):
            classes = getattr(self, name)
            rule = "hold at least two different labels"
            _require(len(set(classes)) == len(classes) >= 2, name, rule, classes)
        # A shared class would put test images into the pre-training.
        rule = "share no class with source_classes"
        apart = not set(self.source_classes) & set(self.target_classes)
        _require(apart, "target_classes", rule, self.target_classes)
        _require(
            len(self.channels) == 3 and min(self.channels) >= 1,
            "channels",
            "hold three widths >= 1",
            self.channels,
        )
        for name, choices in (("layers", _LAYERS), ("regularizers", REGULARIZERS)):
            values = getattr(self, name)
            rule = f"hold different names of {', '.join(choices)}"
            valid = values and set(values) <= set(choices) and len(set(values)) == len(values)
            _require(bool(valid), name, rule, values)
        valid = self.seeds and len(set(self.seeds)) == len(self.seeds)
        valid = valid and min(self.seeds) >= 0 and max(self.seeds) < _SEEDS
        _require(bool(valid), "seeds", "hold different integers >= 0, < 2^63", self.seeds)
        _require(self.data_seed < _SEEDS, "data_seed", "be < 2^63", self.data_seed)
        for name in ("steps", "pretrain_steps"):
            rule = f"be a multiple of rounds ({self.rounds})"
            _require(getattr(self, name) % self.rounds == 0, name, rule, getattr(self, name))
        unknown = set(self.alphas) - set(REGULARIZERS[1:])
        _require(not unknown, "alphas", "have regularizers as keys", sorted(unknown))
        for name in self.regularizers:
            if name != "none":
                grid = self.alphas.get(name, ())
                rule = "hold different strengths > 0"
                valid = grid and len(set(grid)) == len(grid) and min(grid) > 0
                _require(bool(valid), f"alphas[{name!r}]", rule, grid)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> TransferConfig:
        """Make a configuration from plain data, such as a YAML file holds.

        What a run folder's config.yaml holds besides the settings is left out.

        Raises:
            ConfigError: If a setting is unknown, of the wrong type or out of range.
        """
        mapping = {name: value for name, value in mapping.items() if name not in DERIVED}
        for name in mapping:
            if name not in _HINTS:
                near = difflib.get_close_matches(str(name), list(_HINTS), n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                msg = f"unknown setting {name!r}{hint}"
                raise ConfigError(msg)
        return cls(**{name: _tuples(value) for name, value in mapping.items()})

    @classmethod
    def from_yaml(cls, path: Path) -> TransferConfig:
        """Read a YAML file, as data only.

        Raises:
            ConfigError: If the file cannot be read or holds a wrong setting.
        """
        return cls.from_mapping(load_yaml(path))

    def to_mapping(self) -> dict[str, Any]:
        """Return plain data that `from_mapping` reads back."""
        return {item.name: _lists(getattr(self, item.name)) for item in dataclasses.fields(self)}

    def grid(self, regularizer: str) -> tuple[float, ...]:
        """Return the strengths to try; for "none" the one strength 0."""
        return (0.0,) if regularizer == "none" else self.alphas[regularizer]


_SEEDS = 2**63  # torch's generators take no more
_LAYERS = ("block1", "block2", "block3", "pool")
_HINTS = typing.get_type_hints(TransferConfig)
_AT_LEAST_ONE = (
    "labels_per_class",
    "validation_per_class",
    "pretrain_steps",
    "pretrain_batch_size",
    "steps",
    "batch_size",
    "rounds",
    "solver_max_iter",
    "num_threads",
)


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the settings that differ, one line each; empty if none does."""
    names = list(dict.fromkeys([*old, *new]))
    missing = "(absent)"
    return [
        f"{name}: {old.get(name, missing)} -> {new.get(name, missing)}"
        for name in names
        if old.get(name, missing) != new.get(name, missing)
    ]


def _require(condition: bool, name: str, rule: str, value: object) -> None:
    if not condition:
        msg = f"{name} must {rule}, got {value!r}"
        raise ConfigError(msg)


def _require_type(name: str, value: object, hint: Any) -> None:
    if not _matches(value, hint):
        shown = getattr(hint, "__name__", None) if isinstance(hint, type) else str(hint)
        msg = f"{name} must be {str(shown).replace('typing.', '')}, got {value!r}"
        raise ConfigError(msg)


def _matches(value: object, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin is tuple:
        item = typing.get_args(hint)[0]
        return isinstance(value, tuple) and all(_matches(v, item) for v in value)
    if origin is dict:
        of_key, of_value = typing.get_args(hint)
        return isinstance(value, dict) and all(
            _matches(k, of_key) and _matches(v, of_value) for k, v in value.items()
        )
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
    return isinstance(hint, (type, types.UnionType)) and isinstance(value, hint)


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return value


def _lists(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_lists(v) for v in value]
    if isinstance(value, dict):
        return {k: _lists(v) for k, v in value.items()}
    return value
