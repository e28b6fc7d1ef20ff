"""The monitor database: windows, streams, references, alarms and the cursors into the spools.

One evaluator writes it. Whatever a tick changes, cursors included, is one transaction: after a
crash the tick either happened entirely or will happen again from the same events.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from redshank.errors import ConfigError, InputError

from . import engine as db
from .monitor_labelled import forget_labelled, write_labelled
from .monitor_retention import forget
from .monitor_rows import (
    Acceptance,
    Alarm,
    LabelledAnswer,
    ReferenceRow,
    StreamKey,
    StreamRow,
    Window,
)
from .monitor_schema import (
    ACCEPTANCES,
    ALARMS,
    CURSORS,
    META,
    METADATA,
    REFERENCES,
    SCHEMA,
    STREAMS,
    WINDOWS,
    acceptance_of,
    acceptance_values,
    alarm_of,
    alarm_values,
    reference_values,
    stream_of,
    stream_values,
    window_of,
    window_values,
)
from .monitor_upgrade import upgrade


@dataclass(frozen=True)
class Cursor:
    """How far a spool file was read."""

    seq: int
    tick: int
    """Largest tick of its events so far; later events count no earlier."""


@dataclass(frozen=True)
class TickWrite:
    """Everything that one tick changes."""

    tick: int
    cursors: dict[str, Cursor] = field(default_factory=dict)
    windows: tuple[Window, ...] = ()
    streams: tuple[StreamRow, ...] = ()
    references: tuple[ReferenceRow, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    """New ones and changed ones."""
    gone: tuple[StreamKey, ...] = ()
    """Streams of names that gave way to others: forgotten with all they brought."""
    retired: tuple[StreamKey, ...] = ()
    """Streams of domains that are no more: forgotten but for their past days."""
    acceptances: tuple[Acceptance, ...] = ()
    requests_seq: int | None = None
    """Number of the audit row with the operator's request that was dealt with."""
    labelled: tuple[LabelledAnswer, ...] = ()
    """New ones and corrected ones."""
    labelled_from: dict[StreamKey, int] = field(default_factory=dict)
    """Number of the oldest audit row whose labelled answers a stream keeps."""
    labels_seq: int | None = None
    """Number of the audit row whose labels were dealt with."""


def open_monitor(database: str | Path, *, create: bool = True) -> MonitorStore:
    """Open the monitor database by path or URL; with `create`, make missing tables.

    Raises:
        InputError: it does not exist (`create` is False) or cannot be read.
        ConfigError: another version of redshank made it.
    """
    engine = db.open_engine(database, create=create)
    store = MonitorStore(engine)
    with db.read(engine) as connection:
        exists = sa.inspect(connection).has_table(META.name)
    if not exists and not create:
        raise InputError(f"{db.shown(engine)} holds no monitor tables yet")
    if create:
        with db.write(engine) as connection:
            METADATA.create_all(connection)
            if not exists:
                _replace(connection, META, [{"name": "schema", "value": str(SCHEMA)}])
    found = store.meta("schema")
    if create and found == "1":
        found = upgrade(engine)
    if found != str(SCHEMA):
        engine.dispose()
        raise ConfigError(
            f"{db.shown(engine)} has schema {found}, this version reads {SCHEMA}",
            hint="Use the redshank that wrote it, or another database.",
        )
    return store


class MonitorStore:
    """Reads by anybody, writes by the one evaluator."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def only_writer(self) -> AbstractContextManager[None]:
        """Be the evaluator of this database.

        Raises:
            ConflictError: another evaluator is running.
        """
        return db.only_writer(self.engine, "evaluator")

    def commit(self, change: TickWrite) -> None:
        """Write one tick, all or nothing."""
        with db.write(self.engine) as connection:
            forget(connection, change.gone, and_days=True)
            forget(connection, change.retired)
            if change.windows:
                connection.execute(sa.insert(WINDOWS), [window_values(w) for w in change.windows])
            for reference in change.references:
                connection.execute(sa.insert(REFERENCES), reference_values(reference))
            for acceptance in change.acceptances:
                connection.execute(sa.insert(ACCEPTANCES), acceptance_values(acceptance))
            _replace(connection, STREAMS, [stream_values(s) for s in change.streams])
            _replace(connection, ALARMS, [alarm_values(a) for a in change.alarms])
            rows = [{"spool": n, "seq": c.seq, "tick": c.tick} for n, c in change.cursors.items()]
            _replace(connection, CURSORS, rows)
            write_labelled(connection, change.labelled)
            forget_labelled(connection, change.labelled_from)
            values = {
                "last_tick": change.tick,
                "accepted_seq": change.requests_seq,  # its name of when one could only accept
                "labels_seq": change.labels_seq,
            }
            known = [{"name": n, "value": str(v)} for n, v in values.items() if v is not None]
            _replace(connection, META, known)

    def forget_spools(self, names: Iterable[str]) -> None:
        """Drop the cursors of files that are gone."""
        with db.write(self.engine) as connection:
            connection.execute(sa.delete(CURSORS).where(CURSORS.c.spool.in_(list(names))))

    def meta(self, name: str) -> str | None:
        """One named value."""
        query = sa.select(META.c.value).where(META.c.name == name)
        with db.read(self.engine) as connection:
            return connection.execute(query).scalar_one_or_none()

    def last_tick(self) -> int:
        """The newest tick that was evaluated, -1 before the first."""
        return int(self.meta("last_tick") or -1)

    def requests_seq(self) -> int:
        """Number of the newest request of an operator that was dealt with, 0 before the first."""
        return int(self.meta("accepted_seq") or 0)

    def labels_seq(self) -> int:
        """Number of the newest audit row whose labels were dealt with, 0 before the first."""
        return int(self.meta("labels_seq") or 0)

    def set_meta(self, name: str, value: str) -> None:
        """Write one named value."""
        with db.write(self.engine) as connection:
            _replace(connection, META, [{"name": name, "value": value}])

    def cursors(self) -> dict[str, Cursor]:
        """Cursor of every spool file, by name."""
        return {row.spool: Cursor(row.seq, row.tick) for row in self._all(sa.select(CURSORS))}

    def streams(self) -> tuple[StreamRow, ...]:
        """Every stream, by model, domain, then version (ids sort by time)."""
        columns = STREAMS.c
        query = sa.select(STREAMS).order_by(columns.model, columns.domain, columns.version)
        return tuple(stream_of(row) for row in self._all(query))

    def windows(
        self,
        *,
        model: str | None = None,
        version: str | None = None,
        domain: str | None = None,
        from_tick: int | None = None,
    ) -> tuple[Window, ...]:
        """Windows in order of time: the series behind every plot."""
        query = sa.select(WINDOWS).order_by(WINDOWS.c.tick, WINDOWS.c.domain, WINDOWS.c.version)
        wanted = {"model": model, "version": version, "domain": domain}
        for name, value in wanted.items():
            if value is not None:
                query = query.where(WINDOWS.c[name] == value)
        if from_tick is not None:
            query = query.where(WINDOWS.c.tick >= from_tick)
        return tuple(window_of(row) for row in self._all(query))

    def references(self, key: StreamKey) -> tuple[tuple[int, float], ...]:
        """Tick and number of scenes of each frozen burn-in of a stream."""
        query = sa.select(REFERENCES).where(_is(REFERENCES, key)).order_by(REFERENCES.c.tick)
        return tuple((row.tick, row.scenes) for row in self._all(query))

    def alarms(self, *, open_only: bool = False) -> tuple[Alarm, ...]:
        """Alarms, oldest first."""
        query = sa.select(ALARMS).order_by(ALARMS.c.raised_tick, ALARMS.c.alarm_id)
        if open_only:
            query = query.where(ALARMS.c.closed_s.is_(None))
        return tuple(alarm_of(row) for row in self._all(query))

    def acceptances(self) -> tuple[Acceptance, ...]:
        """Every acceptance that was applied, in order."""
        query = sa.select(ACCEPTANCES).order_by(ACCEPTANCES.c.seq)
        return tuple(acceptance_of(row) for row in self._all(query))

    def unsent_triggers(self) -> tuple[Alarm, ...]:
        """Alarms whose trigger has not reached the control database yet."""
        waiting = ALARMS.c.trigger.is_not(None) & ALARMS.c.trigger_sent.is_(False)
        query = sa.select(ALARMS).where(waiting).order_by(ALARMS.c.raised_tick)
        return tuple(alarm_of(row) for row in self._all(query))

    def mark_sent(self, alarm_id: str) -> None:
        """Remember that the alarm's trigger is in the control database."""
        change = sa.update(ALARMS).where(ALARMS.c.alarm_id == alarm_id).values(trigger_sent=True)
        with db.write(self.engine) as connection:
            connection.execute(change)

    def _all(self, query: sa.Select[Any]) -> list[Any]:
        with db.read(self.engine) as connection:
            return list(connection.execute(query))


def _is(table: sa.Table, key: StreamKey) -> sa.ColumnElement[bool]:
    return sa.and_(*(table.c[name] == value for name, value in key._asdict().items()))


def _replace(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, each in place of the one with the same primary key."""
    if not rows:
        return
    names = [column.name for column in table.primary_key]
    same = sa.and_(*(table.c[name] == sa.bindparam(f"old_{name}") for name in names))
    keys = [{f"old_{name}": row[name] for name in names} for row in rows]
    connection.execute(sa.delete(table).where(same), keys)  # one statement, compiled once
    connection.execute(sa.insert(table), rows)
