"""Days of the fleet: the windows of each past day summed up, kept for ever.

Counts add, so a day is a window of a day: about 400 bytes for each domain that sent something.
A window never changes once its tick was evaluated, so a day is folded once, when it is over.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import sqlalchemy as sa

from redshank.cells import NUM_CONFIDENCE_BINS, FloatArray

from . import engine as db
from .monitor_rows import Defects, State, StreamKey, Window
from .monitor_schema import (
    DEFECTS,
    META,
    METADATA,
    WINDOWS,
    key_columns,
    pack,
    unpack,
    unpack_cells,
    window_of,
)

FOLDED = "folded_day"
SECONDS = 86_400.0
SUMS = ("events", "errors", "scenes")
DAYS = sa.Table(
    "monitor_days",
    METADATA,
    *key_columns(),
    sa.Column("day", sa.BigInteger, primary_key=True),
    *[sa.Column(name, sa.BigInteger, nullable=False) for name in (*SUMS, *DEFECTS)],
    sa.Column("cells", sa.LargeBinary, nullable=False),
    sa.Column("novelty", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String, nullable=False),
)


@dataclass
class Day:
    """What one stream showed on one day (UTC)."""

    key: StreamKey
    day: int
    """Days since the epoch."""
    events: int
    errors: int
    scenes: int
    cells_CZ: FloatArray
    novelty_Q: FloatArray
    defects: Defects
    state: State
    """After the day's last tick with events."""

    def add(self, window: Window) -> None:
        """Count a later window of the same day."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(window, name))
        classes = max(len(self.cells_CZ), len(window.cells_CZ))
        cells_CZ = np.zeros((classes, NUM_CONFIDENCE_BINS))
        for table in (self.cells_CZ, window.cells_CZ):
            cells_CZ[: len(table)] += table
        self.cells_CZ = cells_CZ
        self.novelty_Q = self.novelty_Q + window.novelty_Q
        pairs = zip(vars(self.defects).values(), vars(window.defects).values(), strict=True)
        self.defects = Defects(*(before + new for before, new in pairs))
        self.state = window.state


def fold_days(engine: sa.Engine, *, tick: int, tick_s: float) -> int:
    """Sum up every day that was over before `tick` began; returns how many rows were written.

    Args:
        engine: of the monitor database, by its one writer.
        tick: the newest tick that was evaluated.
        tick_s: length of a tick in seconds.
    """
    today = int(tick * tick_s // SECONDS)
    with db.read(engine) as connection:
        known = connection.execute(sa.select(META.c.value).where(META.c.name == FOLDED)).scalar()
        first = connection.execute(sa.select(sa.func.min(WINDOWS.c.tick))).scalar()
    if first is None:
        return 0
    begin = int(known) + 1 if known is not None else int(first * tick_s // SECONDS)
    written = 0
    for day in range(begin, today):
        found = _sum_up(engine, day, tick_s)
        written += len(found)
        with db.write(engine) as connection:  # a day and the note that it is folded, together
            if found:
                connection.execute(sa.insert(DAYS), [_values(day) for day in found])
            connection.execute(sa.delete(META).where(META.c.name == FOLDED))
            connection.execute(sa.insert(META).values(name=FOLDED, value=str(day)))
    return written


def days_of(engine: sa.Engine, *, model: str, domain: str) -> tuple[Day, ...]:
    """Days of a domain in order, all its versions."""
    query = sa.select(DAYS).where(DAYS.c.model == model, DAYS.c.domain == domain)
    with db.read(engine) as connection:
        rows = connection.execute(query.order_by(DAYS.c.day, DAYS.c.version)).all()
    return tuple(_day(row) for row in rows)


def _sum_up(engine: sa.Engine, day: int, tick_s: float) -> list[Day]:
    span = [int(np.ceil(d * SECONDS / tick_s)) for d in (day, day + 1)]
    query = sa.select(WINDOWS).where(WINDOWS.c.tick >= span[0], WINDOWS.c.tick < span[1])
    days: dict[StreamKey, Day] = {}
    with db.read(engine) as connection:
        for row in connection.execute(query.order_by(WINDOWS.c.tick)):
            window = window_of(row)
            if window.key in days:
                days[window.key].add(window)
            else:
                names = {f.name for f in fields(Day)} - {"day"}
                days[window.key] = Day(day=day, **{n: getattr(window, n) for n in names})
    return list(days.values())


def _values(day: Day) -> dict[str, Any]:
    return {
        **day.key._asdict(),
        "day": day.day,
        **{name: getattr(day, name) for name in SUMS},
        **vars(day.defects),
        "cells": pack(day.cells_CZ),
        "novelty": pack(day.novelty_Q),
        "state": day.state,
    }


def _day(row: Any) -> Day:
    return Day(
        key=StreamKey(row.model, row.version, row.domain),
        day=row.day,
        events=row.events,
        errors=row.errors,
        scenes=row.scenes,
        cells_CZ=unpack_cells(row.cells),
        novelty_Q=unpack(row.novelty),
        defects=Defects(*(getattr(row, name) for name in DEFECTS)),
        state=row.state,
    )
