"""Keeps the monitor database bounded: old windows and forgotten streams go, checkpoints stay.

A checkpoint is the memory of every stream at one tick. Windows are deleted only up to one, so that
the state can still be rebuilt: from the oldest checkpoint and the windows after it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from . import engine as db
from .monitor_days import DAYS
from .monitor_labelled import LABELLED
from .monitor_rows import StreamKey
from .monitor_schema import ACCEPTANCES, CHECKPOINTS, META, REFERENCES, STREAMS, WINDOWS

TIDIED = "tidied_tick"


@dataclass(frozen=True)
class Checkpoint:
    """Memory of a stream after a tick."""

    tick: int
    memory: dict[str, Any]


def last_tidied(engine: sa.Engine) -> int | None:
    """Tick of the newest checkpoint, None before the first."""
    query = sa.select(META.c.value).where(META.c.name == TIDIED)
    with db.read(engine) as connection:
        value = connection.execute(query).scalar_one_or_none()
    return None if value is None else int(value)


def tidy(engine: sa.Engine, *, tick: int, horizon: int, gone: Sequence[StreamKey]) -> None:
    """Write a checkpoint, delete what lies before the newest one at or before the horizon.

    Args:
        engine: of the monitor database.
        tick: the newest tick that was evaluated.
        horizon: windows from here on are kept.
        gone: streams to forget, except for their alarms.
    """
    with db.write(engine) as connection:
        forget(connection, gone)
        columns = STREAMS.c
        now = sa.select(
            columns.model, columns.version, columns.domain, sa.literal(tick), columns.memory
        )
        connection.execute(sa.delete(CHECKPOINTS).where(CHECKPOINTS.c.tick == tick))
        connection.execute(sa.insert(CHECKPOINTS).from_select([*CHECKPOINTS.columns], now))
        newest = sa.select(sa.func.max(CHECKPOINTS.c.tick)).where(CHECKPOINTS.c.tick <= horizon)
        if (base := connection.execute(newest).scalar_one_or_none()) is not None:
            connection.execute(sa.delete(WINDOWS).where(WINDOWS.c.tick <= base))
            connection.execute(sa.delete(CHECKPOINTS).where(CHECKPOINTS.c.tick < base))
        connection.execute(sa.delete(META).where(META.c.name == TIDIED))
        connection.execute(sa.insert(META).values(name=TIDIED, value=str(tick)))


def forget(connection: sa.Connection, gone: Sequence[StreamKey], *, and_days: bool = False) -> None:
    """Delete everything of these streams but their alarms and, unless said, their days."""
    tables = (WINDOWS, STREAMS, REFERENCES, CHECKPOINTS, ACCEPTANCES, LABELLED)
    for key in gone:
        for table in (*tables, DAYS) if and_days else tables:
            same = (table.c[name] == value for name, value in key._asdict().items())
            connection.execute(sa.delete(table).where(*same))


def checkpoints(engine: sa.Engine) -> dict[StreamKey, Checkpoint]:
    """The oldest checkpoint of every stream that has one."""
    found: dict[StreamKey, Checkpoint] = {}
    with db.read(engine) as connection:
        for row in connection.execute(sa.select(CHECKPOINTS).order_by(CHECKPOINTS.c.tick)):
            key = StreamKey(row.model, row.version, row.domain)
            if key not in found:
                found[key] = Checkpoint(row.tick, json.loads(row.memory))
    return found
