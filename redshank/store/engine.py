"""Opening a database, reading, writing, and being the only writer. SQLAlchemy Core, no ORM.

SQLite runs with the rollback journal and `BEGIN IMMEDIATE`: several processes may write, none sees
a lock upgrade fail half-way, and the WAL races of SQLite < 3.51.3 cannot happen. PostgreSQL by URL
runs the same code; there a transaction-level advisory lock stands for the immediate lock.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from redshank.errors import (
    ConfigError,
    ConflictError,
    DatabaseError,
    InputError,
    MissingPartError,
)

BUSY_S = 15.0
"""How long a writer waits for another one before it gives up."""


def open_engine(database: str | Path, *, create: bool = True) -> sa.Engine:
    """An engine for a path or URL.

    Args:
        database: a file, `sqlite:///file`, or `postgresql://user@host/name`.
        create: make a missing SQLite file and its folder; readers say False.

    Raises:
        ConfigError: not a URL, or one of another kind of database.
        InputError: no such file (`create` is False).
        MissingPartError: the PostgreSQL driver is not installed.
    """
    url = _parse(str(database))
    if url.get_backend_name() == "postgresql":
        return _postgresql(url)
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        raise ConfigError(
            f"database {str(database)!r} is neither a file nor a PostgreSQL URL",
            hint="Give a path, sqlite:///path, or postgresql://user@host/name.",
        )
    path = Path(str(url.database))
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.is_file():
        raise InputError(
            f"{path} does not exist",
            hint="Nothing has been written there yet; `redshank watch` begins monitor.db.",
        )
    options = {"timeout": BUSY_S, "isolation_level": None, "check_same_thread": False}
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args=options)
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def write(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that may write; committed at the end, rolled back on any error.

    Writers are serialised, so that what was read inside stays true until the commit.

    Raises:
        ConflictError: another writer held the database for longer than `BUSY_S`.
    """
    with _translated(engine), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_key("write"))))
        yield connection


@contextmanager
def read(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One consistent view; takes no write lock."""
    reading = engine.execution_options(redshank_read=True)
    with _translated(engine), reading.begin() as connection:
        yield connection


@contextmanager
def only_writer(engine: sa.Engine, name: str) -> Iterator[None]:
    """Hold the role `name` for as long as the block runs; the system frees it when we die.

    Raises:
        ConflictError: another process holds it.
    """
    busy = ConflictError(
        f"another {name} already works on {shown(engine)}",
        hint=f"Only one {name} may run for a database. Stop the other one first.",
    )
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.detach()  # closed at the end, not pooled: that frees the lock
            lock = sa.select(sa.func.pg_try_advisory_lock(_key(name)))
            if not connection.execute(lock).scalar_one():
                raise busy
            yield
            return
    handle = os.open(f"{engine.url.database}.{name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield
    finally:
        os.close(handle)


def shown(engine: sa.Engine) -> str:
    """The database's name for messages, without a password."""
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    return engine.url.render_as_string(hide_password=True)


def insert_if_new(engine: sa.Engine, table: sa.Table, row: dict[str, Any]) -> sa.Insert:
    """An insert that leaves an existing row with the same key alone; `rowcount` tells which."""
    if engine.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        return postgresql_insert(table).values(row).on_conflict_do_nothing()
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(table).values(row).on_conflict_do_nothing()


def _parse(database: str) -> sa.URL:
    if "://" not in database:
        return sa.URL.create("sqlite", database=database)
    try:
        return sa.make_url(database)
    except sa.exc.ArgumentError as error:
        raise ConfigError(f"database URL {database!r} cannot be read") from error


def _postgresql(url: sa.URL) -> sa.Engine:
    try:
        return sa.create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise MissingPartError(
            "the PostgreSQL driver psycopg is not installed",
            hint="pip install 'redshank[postgresql]'",
        ) from error


def _set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: sa.Connection) -> None:
    reading = connection.get_execution_options().get("redshank_read", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _key(name: str) -> int:
    """A stable number for an advisory lock."""
    return zlib.crc32(f"redshank {name}".encode())


@contextmanager
def _translated(engine: sa.Engine) -> Iterator[None]:
    """Errors of the driver as errors that a user can act on."""
    try:
        yield
    except sa.exc.OperationalError as error:
        if "locked" in str(error.orig):
            raise ConflictError(
                f"{shown(engine)} was locked by another process for {BUSY_S:.0f} s",
                hint="Look for a process that hangs while it holds the database.",
            ) from error
        raise DatabaseError(f"database {shown(engine)}: {error.orig}") from error
    except sa.exc.DatabaseError as error:
        if isinstance(error, sa.exc.IntegrityError):
            raise
        raise DatabaseError(f"database {shown(engine)}: {error.orig}") from error
