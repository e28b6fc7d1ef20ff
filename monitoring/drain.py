"""Spool files in, ticks out: which events belong to which tick, exactly once.

An event belongs to the tick of its `received_at`, unless a later tick of the same file was read
before it; then it counts there. So the ticks are a function of the files' content alone, however
often the evaluator was stopped in between. An event that is written after its tick was evaluated
counts in the tick after that one.
"""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path

from redshank.events import Event, SpooledEvent, read_events, spool_files
from redshank.store.monitor import Cursor

CHUNK = 5000


class SpoolReader:
    """Reads one file ahead, tick by tick."""

    def __init__(self, path: Path, cursor: Cursor, *, tick_s: float, first_tick: int) -> None:
        self.path = path
        self.cursor = cursor
        self._tick_s, self._first_tick = tick_s, first_tick
        self._ahead: deque[SpooledEvent] = deque()

    def next_tick(self) -> int | None:
        """Tick of the next event, None when nothing is there."""
        self._fill()
        return self._tick_of(self._ahead[0].event) if self._ahead else None

    def take(self, tick: int) -> list[Event]:
        """All next events that belong to `tick` or earlier; moves the cursor."""
        taken = []
        while (found := self.next_tick()) is not None and found <= tick:
            row = self._ahead.popleft()
            taken.append(row.event)
            self.cursor = Cursor(row.seq, found)
        return taken

    def _fill(self) -> None:
        if not self._ahead:
            self._ahead.extend(read_events(self.path, after_seq=self.cursor.seq, limit=CHUNK))

    def _tick_of(self, event: Event) -> int:
        own = math.floor(event.received_at / self._tick_s)
        return max(own, self.cursor.tick, self._first_tick)


def open_readers(
    folder: Path, cursors: dict[str, Cursor], *, tick_s: float, last_tick: int
) -> list[SpoolReader]:
    """A reader for every spool file, each at its cursor; `last_tick` was evaluated already."""
    start = Cursor(seq=0, tick=0)
    return [
        SpoolReader(path, cursors.get(path.name, start), tick_s=tick_s, first_tick=last_tick + 1)
        for path in spool_files(folder)
    ]


def take_tick(
    readers: list[SpoolReader], *, before_tick: int
) -> tuple[int, list[Event], dict[str, Cursor]] | None:
    """The earliest closed tick that has events.

    Args:
        readers: every spool file.
        before_tick: the first tick that is still open.

    Returns:
        Tick, its events in order of time and id, and the moved cursors; None when all closed
        ticks are read.
    """
    ticks = [tick for reader in readers if (tick := reader.next_tick()) is not None]
    if not ticks or min(ticks) >= before_tick:
        return None
    tick = min(ticks)
    events, cursors = [], {}
    for reader in readers:
        if taken := reader.take(tick):
            events += taken
            cursors[reader.path.name] = reader.cursor
    events.sort(key=lambda event: (event.received_at, event.event_id))
    return tick, events, cursors
