"""Two tasks, source and target: examples by class, cut once for testing and once per seed for the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn import functional

from kantorch.training.banks import ArrayBank, ImageBank, Sizes, image_bank, members_of
from kantorch.training.classes import choose_classes
from kantorch.training.datasets import TEST, TRAIN, VALIDATION, format_of
from kantorch.training.errors import ConfigError
from kantorch.training.images import Examples, load_examples
from kantorch.training.task_settings import NOTHING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kantorch.training.banks import Bank, Members
    from kantorch.training.batches import Examples as Part
    from kantorch.training.task_settings import TaskSettings

    Parts = list[NDArray[np.int64]]


@dataclass(frozen=True)
class Split:
    """Disjoint parts of one task, with labels from 0."""

    train: Part
    validation: Part


class Tasks:
    """Source and target task, cut out of labelled examples.

    The test part of the target is its authors', or drawn once; it never meets a seed. Training and
    validation examples are drawn per seed from the rest.

    Args:
        settings: Which data, which classes, how many examples.

    Attributes:
        in_channels: Of the images.
        outputs: Numbers of a regression; None: it is none.
        source_classes: Labels of the source task; empty: there is none.
        target_classes: Labels of the target task.

    Raises:
        RunError: If the data cannot be read.
        ConfigError: If a class is unknown or has too few examples for the setting that is named, or
            the shape of the images leaves their layout open.
    """

    def __init__(self, settings: TaskSettings) -> None:
        self.settings = settings
        few = settings.labels_per_class
        self._few = few if isinstance(few, int) else None  # all
        self._target = self._bank(settings.data)
        self._source = self._source_bank()
        self.in_channels = self._target.in_channels
        self.outputs = self._target.outputs
        self.target_classes = choose_classes(
            "target_classes", settings.target_classes, self._target.names, self._target.groups
        )
        self.source_classes: tuple[int, ...] = ()
        if settings.source_data != NOTHING:
            bank = self._source
            self.source_classes = choose_classes(
                "source_classes", settings.source_classes, bank.names, bank.groups
            )
        self._cut()
        self._test, self._pool, self._validation = self._hold_out()
        self._tested = self._target
        if settings.test_data is not None:
            self._tested, self._test = self._other_test(settings.test_data)
        if isinstance(self._source, ArrayBank) and isinstance(self._target, ArrayBank):
            learnt_from = [self._source_of[label] for label in self.source_classes] or self._pool
            self._source.standardise(learnt_from, self._source)
            if self._target is not self._source:  # which has a scale of its own
                self._target.standardise(self._pool, self._target)

    # Data.

    def _bank(self, data: str) -> Bank:
        s = self.settings
        if format_of(data) is None:
            return ArrayBank(load_examples(data, s.image_layout, targets=s.loss == "mse"))
        if s.loss == "mse":
            msg = f"loss must be 'cross_entropy' for {data}, which has labels alone, got 'mse'"
            raise ConfigError(msg)
        return image_bank(
            data, Sizes(s.image_size, s.image_resize, s.image_mean, s.image_deviation)
        )

    def _source_bank(self) -> Bank:
        data = self.settings.source_data
        if data is None or data == NOTHING:
            return self._target
        bank = self._bank(data)
        if isinstance(bank, ArrayBank) and isinstance(self._target, ArrayBank):
            return ArrayBank(_resized(bank.examples, self._target.examples))
        if isinstance(bank, ImageBank) and isinstance(self._target, ImageBank):
            bank.view = self._target.view
            return bank
        msg = f"source_data must be images on disk if data are, got {data!r} beside {self.settings.data!r}"
        raise ConfigError(msg)

    def _other_test(self, data: str) -> tuple[ImageBank, Parts]:
        bank = self._bank(data)
        if not isinstance(bank, ImageBank) or not isinstance(self._target, ImageBank):
            msg = f"test_data must be images on disk, as data, got {data!r}"
            raise ConfigError(msg)
        bank.view = self._target.view
        members, test = members_of(bank), []
        mine = {label: name for name, label in self._target.names.items()}
        for label in self.target_classes:
            # The folders of ImageNet are called by the first word of those of Stanford Dogs.
            names = mine[label], mine[label].partition("-")[0]
            other = next((bank.names[name] for name in names if name in bank.names), None)
            if other is None or not len(members[other]):
                msg = f"test_data must have images of the class {mine[label]!r}: {data} has none"
                raise ConfigError(msg)
            bank.labels[members[other]] = label
            test.append(members[other])
        return bank, test

    # Parts.

    def _cut(self) -> None:
        """Tell which examples of each class are the source's, and which the target's."""
        s = self.settings
        self._target_of = members_of(self._target)
        self._source_of = members_of(self._source)
        shared = set(self.source_classes) & set(self.target_classes)
        if self._source is not self._target or not self.source_classes:
            return
        if s.source_fraction < 1:
            self._source_of, self._target_of = self._cut_in_two(self._source_of)
        elif shared and self._target.parts is not None:  # both learn, neither from the test
            self._source_of = members_of(self._source, (TRAIN, VALIDATION))
        else:
            names = {label: name for name, label in self._target.names.items()}
            s.require_apart([names[label] for label in sorted(shared)])

    def _cut_in_two(self, members: Members) -> tuple[Members, Members]:
        rng = np.random.default_rng([self.settings.data_seed, 3])
        first, second = {}, {}
        for label, found in members.items():
            cut = round(self.settings.source_fraction * len(found))
            mixed = rng.permutation(found)
            first[label], second[label] = np.sort(mixed[:cut]), np.sort(mixed[cut:])
        return first, second

    def _hold_out(self) -> tuple[Parts, Parts, Parts | None]:
        """The target's test part, what is learnt from, and its authors' validation part."""
        s, parts = self.settings, self._target.parts
        test, pool, validation = [], [], []
        own = parts is not None and bool((parts == VALIDATION).any())
        rng = np.random.default_rng(s.data_seed)
        for label in self.target_classes:
            members = self._target_of[label]
            if parts is None:
                members = rng.permutation(members)
                held_out = round(s.test_fraction * len(members))
                test.append(members[:held_out])
                pool.append(members[held_out:])
            else:
                test.append(members[parts[members] == TEST])
                pool.append(members[parts[members] == TRAIN])
                validation.append(members[parts[members] == VALIDATION])
            needed = (self._few or 1) + (0 if own else s.validation_per_class)
            if len(pool[-1]) < needed or not len(test[-1]) or (own and not len(validation[-1])):
                msg = (
                    "labels_per_class + validation_per_class must leave a test part: class "
                    f"{label} has {len(members)} examples, {len(test[-1])} for testing, and {needed} "
                    "are wanted besides"
                )
                raise ConfigError(msg)
        return test, pool, validation if own else None

    def source(self, per_class: int | None = None) -> Split:
        """Most of the source task to train on, the rest to validate.

        Args:
            per_class: Examples of each class to train on. None: all.
        """
        s, classes = self.settings, self.source_classes
        rng = np.random.default_rng([s.data_seed, 1])
        parts = [rng.permutation(self._source_of[label]) for label in classes]
        held = [max(1, int(len(part) * s.source_validation + 1e-9)) for part in parts]
        cuts = [len(part) - rest for part, rest in zip(parts, held, strict=True)]
        train = [part[:cut][:per_class] for part, cut in zip(parts, cuts, strict=True)]
        rest = [part[cut:] for part, cut in zip(parts, cuts, strict=True)]
        bank = self._source
        return Split(bank.dataset(train, classes), bank.dataset(rest, classes))

    def target(self, seed: int) -> Split:
        """The few labelled examples of a seed, and its validation examples."""
        s, classes, bank = self.settings, self.target_classes, self._target
        rng = np.random.default_rng([s.data_seed, 2, seed])
        pools = [rng.permutation(pool) for pool in self._pool]
        held = 0 if self._validation else s.validation_per_class
        few = [self._few or len(pool) - held for pool in pools]
        train = [pool[:n] for pool, n in zip(pools, few, strict=True)]
        rest = self._validation or [pool[n : n + held] for pool, n in zip(pools, few, strict=True)]
        return Split(bank.dataset(train, classes), bank.dataset(rest, classes))

    def pool(self) -> Part:
        """Every example of the target task outside of the test part, for use without its label."""
        return self._target.dataset(self._pool, self.target_classes)

    def test(self) -> Part:
        """The test part of the target task: for the end, once."""
        return self._tested.dataset(self._test, self.target_classes)

    def example(self) -> torch.Tensor:
        """An empty image (1, channels, height, width) of the size of all."""
        bank = self._target
        if isinstance(bank, ImageBank):
            return torch.zeros(1, 3, bank.view.size, bank.view.size)
        return torch.zeros(1, *bank.examples.images.shape[1:])

    def names(self, task: Literal["source", "target"]) -> list[str]:
        """The names of a task's classes."""
        bank = self._source if task == "source" else self._target
        classes = self.source_classes if task == "source" else self.target_classes
        names = {label: name for name, label in bank.names.items()}
        return [names[label] for label in classes]

    def told(self, task: Literal["source", "target"]) -> str:
        """A task's classes, in words."""
        names = self.names(task)
        shown = ", ".join(names[:12])
        return shown if len(names) <= 12 else f"{shown}, ... ({len(names)} classes)"

    def sizes(self) -> dict[str, int]:
        """Return the number of examples of each part."""
        target = self.target(0)
        source = self.source() if self.source_classes else None
        of_source = (
            {}
            if source is None
            else {
                "source training": len(source.train),
                "source validation": len(source.validation),
            }
        )
        return of_source | {
            "target training, per seed": len(target.train),
            "target validation, per seed": len(target.validation),
            "target test": len(self.test()),
        }


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
