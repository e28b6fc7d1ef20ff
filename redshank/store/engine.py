"""Opens a database by URL: SQLite for one machine, PostgreSQL for many.

SQLite runs with a rollback journal, not WAL: several processes write these files, and SQLite before
3.51.3 can corrupt a WAL file under two writers. Every transaction starts with `BEGIN IMMEDIATE`, so
a writer waits at the door and never fails in the middle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from redshank.errors import ConfigError

BUSY_TIMEOUT_S = 30.0
"""Longest wait for another process's transaction."""


def open_engine(url: str) -> Engine:
    """Open (or for SQLite create) a database; connections are made on first use.

    Args:
        url: `sqlite:////absolute/path.db`, or `postgresql://user@host/database`.

    Raises:
        ConfigError: the URL cannot be read, or names another kind of database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(f"database URL {url!r} cannot be read") from error
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        return _open_sqlite(url, parsed.database)
    if kind == "postgresql":
        driver = parsed.set(drivername="postgresql+psycopg")
        return sqlalchemy.create_engine(driver, pool_pre_ping=True)
    raise ConfigError(
        f"database URL {url!r} is of kind {kind!r}",
        hint="Use sqlite:////absolute/path.db or postgresql://user@host/database.",
    )


def _open_sqlite(url: str, database: str | None) -> Engine:
    if not database or database == ":memory:":
        raise ConfigError(f"database URL {url!r} names no file")
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(
        url,
        poolclass=NullPool,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we send BEGIN ourselves
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
