"""What a driver tells a study: its settings, its stages, how a trial is run, and what is drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from kantorch.training.folder import TRIALS
from kantorch.training.records import Weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from kantorch.training._matplotlib import Figure
    from kantorch.training.results import Results
    from kantorch.training.settings import Settings
    from kantorch.training.trial import Stage, Trial

S = TypeVar("S", bound="Settings")


@dataclass(frozen=True)
class Place:
    """Where the files of a study's trials are, and who wants to hear of progress.

    Attributes:
        folder: The run folder.
        advance: Is told the steps that were done, or need not be done again.
    """

    folder: Path
    advance: Callable[[int], object] = lambda steps: None

    def of(self, trial: Trial) -> Path:
        """The folder of a trial, which is made when something is written to it."""
        return self.folder / TRIALS / trial.name

    def weights(self, stage: str) -> Weights:
        """The weights that a stage of one trial has left."""
        return Weights.of(self.folder / TRIALS / stage)


class Driver(ABC, Generic[S]):
    """One kind of study. A study makes one per process, so that it may keep what it has loaded.

    Attributes:
        name: Of the command.
        settings_type: The class of its settings.
        pictures: Names of the files that `draw` and `tables` fill.
        unit: What its steps are called on the progress bar.
        least: The lowest number that a score or a test can be; the highest is 1.
    """

    name: ClassVar[str]
    settings_type: ClassVar[type[Settings]]
    pictures: ClassVar[tuple[str, ...]] = ()
    unit: ClassVar[str] = "step"
    least: float = 0.0

    def __init__(self, settings: S) -> None:
        self.settings = settings

    def check(self, world_size: int) -> None:
        """Refuse what the settings alone do not show.

        Args:
            world_size: The number of processes that train together.

        Raises:
            RunError: If this study cannot run here.
        """

    def inputs(self) -> Mapping[str, str]:
        """Name the files that results depend on, by setting: their digests belong to a run."""
        return {}

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """List what is to be done, in order."""

    @abstractmethod
    def run(self, trial: Trial, place: Place) -> dict[str, Any]:
        """Do a trial, from where its folder shows that it was left.

        Returns:
            What is kept of it: numbers, lists and mappings, as JSON can hold them. Other products
            are files in its folder.
        """

    def steps(self, trial: Trial) -> int:
        """Tell how long a trial is."""
        return 1

    def faults(self, trial: Trial, record: Mapping[str, Any]) -> Iterable[str]:
        """Say what is wrong with the record of a trial that was read back, the first fault first."""
        return ()

    def titles(self) -> Mapping[str, str]:
        """Name the methods of the compared stage for tables, also those that do not apply."""
        return {}

    def score(self, record: Mapping[str, Any]) -> float:
        """Tell how good a trial of the compared stage is, by data that are not the test's."""
        raise NotImplementedError  # not abstract: only studies with a compared stage ask

    def test(self, trial: Trial, place: Place) -> float:
        """Measure a chosen trial, once, after every choice is made."""
        raise NotImplementedError  # not abstract: only studies with a compared stage ask

    def table(self, results: Results) -> str:
        """Write the table that the command prints."""
        return results.table()

    def report(self, results: Results) -> str:
        """Write what stands above the differences in report.md."""
        return self.table(results)

    def tables(self, results: Results) -> Mapping[str, pd.DataFrame]:
        """Tables of the driver's own, by file name."""
        return {}

    def draw(self, results: Results) -> Mapping[str, Figure]:
        """Draw the pictures, by file name."""
        return {}
