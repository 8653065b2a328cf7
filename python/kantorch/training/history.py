"""What the record of a training must hold: its history by round and its traces by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kantorch.training.records import is_number, is_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Expected:
    """The form of a training's record.

    Attributes:
        steps: Of the training, in so many equal rounds as `rounds` says.
        rounds: Rows of the history.
        measure: The number of each row that is a share.
        least: The lowest that the measure can be.
        terms: Numbers of each row, besides the step and the measure.
        layers: Those with a trace per step.
    """

    steps: int
    rounds: int
    measure: str
    least: float
    terms: tuple[str, ...]
    layers: tuple[str, ...] = ()

    def faults(self, record: Mapping[str, Any]) -> Iterable[str]:
        """Say what is wrong with a record, the first fault first."""
        history = record.get("history")
        if not isinstance(history, list) or len(history) != self.rounds:
            yield f"history must hold {self.rounds} rounds"
            return
        for place, row in enumerate(history):
            if not isinstance(row, dict):
                yield f"history[{place}] must hold numbers by name, got {row!r}"
                return
            yield from self._row_faults(f"history[{place}]", place, row)
        yield from self._trace_faults(record.get("traces"))

    def _row_faults(self, name: str, place: int, row: Mapping[str, Any]) -> Iterable[str]:
        step = self.steps // self.rounds * (place + 1)
        if not is_number(row.get("step")) or row["step"] != step:
            yield f"{name}.step must be {step}, got {row.get('step')!r}"
        if not is_share(row.get(self.measure), self.least):
            rule = f"a number in [{self.least:g}, 1]"
            yield f"{name}.{self.measure} must be {rule}, got {row.get(self.measure)!r}"
        for term in self.terms:
            if not is_number(row.get(term)):
                yield f"{name}.{term} must be a finite number, got {row.get(term)!r}"

    def _trace_faults(self, traces: object) -> Iterable[str]:
        if not isinstance(traces, dict) or set(traces) != set(self.layers):
            yield f"traces must hold the layers {list(self.layers)}"
            return
        for layer, steps in traces.items():
            valid = isinstance(steps, list) and len(steps) == self.steps
            if not valid or not all(map(is_number, steps)):
                yield f"traces.{layer} must hold {self.steps} finite numbers"
