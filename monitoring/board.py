"""What the evaluator shows to the outside: one immutable picture, replaced after every pass."""

from __future__ import annotations

from dataclasses import dataclass

from redshank.files import Clock
from redshank.settings import MonitoringSettings
from redshank.store.monitor_rows import Alarm, State, StreamRow

from .evaluator import Evaluator, Pass
from .verdict import present_state


@dataclass(frozen=True)
class Picture:
    """The fleet after a pass."""

    rows: tuple[StreamRow, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    finished_s: float = 0.0
    seconds: float = 0.0
    passes: int = 0
    problems: tuple[str, ...] = ()


class Board:
    """Holds the newest picture; safe to read from the threads of the HTTP server."""

    def __init__(self, monitoring: MonitoringSettings, clock: Clock) -> None:
        self.monitoring, self.clock = monitoring, clock
        self.picture = Picture()

    def publish(self, evaluator: Evaluator, done: Pass) -> None:
        """Show the evaluator's present state."""
        self.picture = Picture(
            rows=evaluator.answering_rows(),
            alarms=evaluator.open_alarms,
            finished_s=self.clock(),
            seconds=done.seconds,
            passes=self.picture.passes + 1,
            problems=done.problems,
        )

    def state(self, row: StreamRow) -> tuple[State, str]:
        """State and sentence of a row as of now."""
        return present_state(row, now_s=self.clock(), silent_after_s=self.monitoring.silent_after_s)
