"""Spool files in, ticks out: which events belong to which tick, exactly once.

An event belongs to the tick of its `received_at`. One that is read after that tick was evaluated
counts in the tick after the newest evaluated one. A clock may be wrong: an event that lies more
than `MOST_AHEAD` ticks in the future counts now, so that it does not hold up its file. A file that
cannot be read waits, is named in `problems`, and holds up nobody else.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from redshank.errors import InputError
from redshank.events import Event, SpooledEvent, read_events, spool_files
from redshank.store.monitor import Cursor

CHUNK = 5000
MOST_AHEAD = 2
"""Ticks that a clock may be ahead before it is taken for wrong."""


@dataclass(frozen=True)
class Calendar:
    """Which tick something counts in, as of one moment."""

    tick_s: float
    now_tick: int
    """The tick that is open by the evaluator's clock."""
    after_tick: int
    """The newest tick that was evaluated, -1 before the first."""

    @property
    def open_tick(self) -> int:
        """The first tick that is still open.

        When our own clock was set back behind ticks that were evaluated, events go on in the next
        number rather than wait until the clock gets there.
        """
        is_behind = self.after_tick - self.now_tick >= MOST_AHEAD
        return self.after_tick + 2 if is_behind else self.now_tick

    def tick_at(self, at_s: float) -> int:
        """The tick of a moment; the newest closed one if it lies too far ahead to be true."""
        tick = math.floor(at_s / self.tick_s)
        return self.open_tick - 1 if tick - self.open_tick > MOST_AHEAD else tick

    def tick_of(self, at_s: float) -> int:
        """The tick in which an event of that time counts, if it is read now."""
        return max(self.tick_at(at_s), self.after_tick + 1)


class SpoolReader:
    """Reads one file ahead, tick by tick."""

    def __init__(self, path: Path, cursor: Cursor) -> None:
        self.path = path
        self.cursor = cursor
        self.problem = ""
        """Why the file cannot be read on; empty when it can."""
        self._ahead: deque[SpooledEvent] = deque()

    def next_tick(self, calendar: Calendar) -> int | None:
        """Tick of the next event, None when nothing can be read."""
        self._fill()
        return calendar.tick_of(self._ahead[0].event.received_at) if self._ahead else None

    def take(self, tick: int, calendar: Calendar) -> list[Event]:
        """All next events that belong to `tick` or earlier; moves the cursor."""
        taken = []
        while (found := self.next_tick(calendar)) is not None and found <= tick:
            row = self._ahead.popleft()
            taken.append(row.event)
            self.cursor = Cursor(row.seq, tick)
        return taken

    def _fill(self) -> None:
        if self._ahead or self.problem:
            return
        try:
            self._ahead.extend(read_events(self.path, after_seq=self.cursor.seq, limit=CHUNK))
        except InputError as error:
            self.problem = error.message
        except ValueError as error:  # a row that is no JSON
            self.problem = f"spool {self.path}: a row after {self.cursor.seq} is damaged: {error}"


def open_readers(folder: Path, cursors: dict[str, Cursor]) -> list[SpoolReader]:
    """A reader for every spool file, each at its cursor."""
    start = Cursor(seq=0, tick=0)
    return [SpoolReader(path, cursors.get(path.name, start)) for path in spool_files(folder)]


def take_tick(
    readers: list[SpoolReader], calendar: Calendar, *, before_tick: int | None = None
) -> tuple[int, list[Event], dict[str, Cursor]] | None:
    """The earliest closed tick that has events.

    Args:
        readers: every spool file.
        calendar: what was evaluated, and what time it is.
        before_tick: take none from here on; the first open tick when omitted.

    Returns:
        Tick, its events in order of time and id, and the moved cursors; None when all closed
        ticks are read.
    """
    end = calendar.open_tick if before_tick is None else before_tick
    ticks = [tick for reader in readers if (tick := reader.next_tick(calendar)) is not None]
    if not ticks or min(ticks) >= end:
        return None
    tick = min(ticks)
    events, cursors = [], {}
    for reader in readers:
        if taken := reader.take(tick, calendar):
            events += taken
            cursors[reader.path.name] = reader.cursor
    events.sort(key=lambda event: (event.received_at, event.event_id))
    return tick, events, cursors
