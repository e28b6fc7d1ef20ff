"""Series for plots: windows of the monitor database without their cell tables, and past alarms.

A window's cells are most of its bytes; a plot of a hundred domains needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from . import engine as db
from .monitor import MonitorStore
from .monitor_rows import Alarm, Evidence, State, StreamKey
from .monitor_schema import ALARMS, WINDOWS, alarm_of

_COLUMNS = [column for column in WINDOWS.c if column.name not in ("cells", "novelty")]


@dataclass(frozen=True)
class Point:
    """One window as a plot needs it."""

    key: StreamKey
    tick: int
    at_s: float
    """End of the tick."""
    images: int
    errors: int
    mean_confidence: float | None
    absolute: Evidence | None
    relative: Evidence | None
    state: State

    def evidence(self, reference: str) -> Evidence | None:
        """What the detector of a reference said."""
        return self.absolute if reference == "absolute" else self.relative


def series(
    store: MonitorStore, *, domains: Iterable[str], model: str | None = None, from_tick: int
) -> tuple[Point, ...]:
    """Points of some domains in order of time, all versions.

    Args:
        store: the monitor database.
        domains: names of the domains.
        model: only of this model.
        from_tick: first tick wanted.
    """
    wanted = WINDOWS.c.domain.in_(list(domains)) & (WINDOWS.c.tick >= from_tick)
    if model is not None:
        wanted &= WINDOWS.c.model == model
    query = sa.select(*_COLUMNS).where(wanted).order_by(WINDOWS.c.tick, WINDOWS.c.version)
    with db.read(store.engine) as connection:
        return tuple(_point(row) for row in connection.execute(query))


def alarms_of(store: MonitorStore, *, model: str, domain: str) -> tuple[Alarm, ...]:
    """Alarms of a domain under any version, the newest first."""
    mine = (ALARMS.c.model == model) & (ALARMS.c.domain == domain)
    query = sa.select(ALARMS).where(mine).order_by(ALARMS.c.raised_tick.desc(), ALARMS.c.alarm_id)
    with db.read(store.engine) as connection:
        return tuple(alarm_of(row) for row in connection.execute(query))


def _point(row: Any) -> Point:
    return Point(
        key=StreamKey(row.model, row.version, row.domain),
        tick=row.tick,
        at_s=row.at_s,
        images=row.events - row.errors,
        errors=row.errors,
        mean_confidence=row.mean_confidence,
        absolute=_evidence(row, "absolute"),
        relative=_evidence(row, "relative"),
        state=row.state,
    )


def _evidence(row: Any, name: str) -> Evidence | None:
    parts = [getattr(row, f"{name}_{part}") for part in ("total", "confidence", "threshold")]
    return None if parts[0] is None else Evidence(*parts)
