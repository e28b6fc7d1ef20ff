"""Prediction events: one SQLite file per writer, rotated and sealed, drained exactly once.

    spool/<worker>-<n>.db     table `events` (seq, event), table `spool` (sealed or not)

A file has one writer and one connection that writes, so the WAL races of SQLite < 3.51.3 cannot
happen. Readers open it read-only and keep a cursor (`seq`) of their own. A sealed file gets no more
rows; it is deleted when its retention ends, by whoever runs `expire`.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from redshank.errors import InputError
from redshank.records import from_dict

SCHEMA = 1
_DAY_S = 86_400.0
Role = Literal["live", "shadow", "canary"]
OK = "ok"
_encode_values = json.JSONEncoder(separators=(",", ":")).encode
_ROWS_AT_ONCE = (100, 10, 1)
"""Rows of one statement: each lets go of the interpreter's lock and so wakes the worker."""
_PAGE_BYTES, _WAL_PAGES = 16_384, 250
"""Thirty events a page: with SQLite's 4 KiB they are four writes. The log grows to 4 MiB."""
SpoolError = sqlite3.Error
"""What a full disk, a lock or a lost file raises in `EventWriter.append` and `seal`."""


@dataclass
class Event:
    """One prediction (or failed request), as the worker saw it; nobody changes it.

    Not frozen: making a frozen one takes four times as long, and a worker makes thousands.
    """

    schema: int
    event_id: str
    """Sorts by time; unique."""
    received_at: float
    """Server clock, seconds since the epoch."""
    domain: str
    model: str
    version: str
    """Bundle id."""
    role: Role
    outcome: str
    """`ok`, or the error code of the answer."""
    class_index: int
    """-1 unless ok; so are confidence, margin and novelty 0."""
    confidence: float
    """Calibrated, in [0, 1]."""
    margin: float
    """Calibrated confidence minus the second class's."""
    novelty: float
    """Rank of the embedding distance among validation images, in [0, 1]."""
    dhash: str
    """64-bit difference hash of the decoded image, 16 hex digits; empty when not decoded."""
    brightness_mean: float
    """Mean grey level in [0, 1]."""
    brightness_spread: float
    """Standard deviation of the grey level, in [0, 1]."""
    sequence_id: str
    client: str
    """Salted hash of the client id or address."""
    latency_ms: float
    image_sha256: str
    """Digest of the original bytes; empty when they were not read."""
    stored: bool
    """Whether the field store kept the image."""


@dataclass(frozen=True)
class SpooledEvent:
    """An event with its place in its file."""

    seq: int
    event: Event


def encode_event(event: Event) -> str:
    """The JSON text of an event, as a spool holds it."""
    return _encode_values(vars(event))  # flat: as_dict would cost thrice this


class EventWriter:
    """Appends batches of events; one instance per worker, used from one thread at a time.

    Args:
        folder: the spool.
        worker: name of the writer, unique among those that live.
        max_rows: rows of one file.
    """

    def __init__(self, folder: Path, worker: str, *, max_rows: int = 200_000) -> None:
        self._folder, self._worker, self._max_rows = folder, worker, max_rows
        self._number = 1 + max(
            (int(path.stem.rsplit("-", 1)[1]) for path in folder.glob(f"{worker}-*.db")), default=0
        )
        self._rows, self._written_at = 0, 0.0
        self._is_ours = False
        self._connection: sqlite3.Connection | None = None
        self.deleted_rows = 0
        """Rows, in all, of files that somebody deleted while they were written: lost to whoever had
        not read them yet. A file that rested for a day may as well have expired."""

    @property
    def path(self) -> Path:
        """The file that is being written."""
        return self._folder / f"{self._worker}-{self._number}.db"

    def append(self, events: Iterable[Event]) -> int:
        """Write a batch in one transaction; returns how many. Raises what `append_texts` does."""
        return self.append_texts([encode_event(event) for event in events])

    def append_texts(self, rows: Sequence[str]) -> int:
        """Write a batch, in one transaction, of what `encode_event` or a faster JSON made.

        Raises:
            sqlite3.Error: the disk is full, the file is locked or gone; nothing was written, and
                the next call starts a new file.
        """
        try:
            connection = self._open()
            with connection:
                _insert(connection, rows)
        except sqlite3.Error:
            self._give_up()
            raise
        self._rows += len(rows)
        self._written_at = time.monotonic()
        if self._rows >= self._max_rows:
            with suppress(sqlite3.Error):  # the rows are in: an error would have them come again
                self.seal()
        return len(rows)

    def seal(self) -> None:
        """Mark the file complete and close it; the next append starts another."""
        self._leave_deleted()
        if self._connection is not None:
            with self._connection as connection:
                connection.execute("UPDATE spool SET sealed = 1")
            self._abandon()

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seal()

    def _open(self) -> sqlite3.Connection:
        self._leave_deleted()
        if self._connection is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._is_ours = not self.path.exists()
            connection = sqlite3.connect(self.path, timeout=1.0, check_same_thread=False)
            self._connection = connection
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # before anything is written
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
            with connection:
                connection.execute(
                    "CREATE TABLE events (seq INTEGER PRIMARY KEY, event TEXT NOT NULL)"
                )
                connection.execute("CREATE TABLE spool (schema INTEGER, sealed INTEGER)")
                connection.execute("INSERT INTO spool VALUES (?, 0)", (SCHEMA,))
        return self._connection

    def _leave_deleted(self) -> None:
        """Go on in a new file where the present one is gone."""
        if self._connection is not None and not self.path.exists():
            is_fresh = time.monotonic() - self._written_at < _DAY_S
            self.deleted_rows += self._rows if is_fresh else 0
            self._abandon()

    def _give_up(self) -> None:
        """Leave the file after an error; without rows it goes, a full disk must not breed files."""
        path, empty = self.path, self._is_ours and self._rows == 0
        self._abandon()
        if empty:
            with suppress(OSError):
                _unlink(path)

    def _abandon(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._number += 1
        self._rows = 0


def _insert(connection: sqlite3.Connection, rows: Sequence[str]) -> None:
    """Add the texts of events in order, in as few statements as there are sizes for."""
    start = 0
    for size in _ROWS_AT_ONCE:
        statement = "INSERT INTO events (event) VALUES " + ", ".join(["(?)"] * size)
        while len(rows) - start >= size:
            connection.execute(statement, rows[start : start + size])
            start += size


def spool_files(folder: Path) -> tuple[Path, ...]:
    """Every spool file, in a stable order."""
    return tuple(sorted(folder.glob("*-*.db")))


def read_events(path: Path, *, after_seq: int, limit: int = 10_000) -> tuple[SpooledEvent, ...]:
    """The next events of one file after a cursor, in order; never changes the file.

    Fields that a newer server added are read past.

    Raises:
        InputError: the file is no spool (one half-created or just expired reads as empty).
    """
    query = "SELECT seq, event FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
    try:
        with _reading(path) as connection:
            rows = connection.execute(query, (after_seq, limit)).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error) or not path.exists():
            return ()
        raise InputError(f"spool {path} cannot be read: {error}") from error
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is no spool: {error}") from error
    return tuple(
        SpooledEvent(seq, from_dict(Event, json.loads(text), source=str(path), ignore_unknown=True))
        for seq, text in rows
    )


def is_sealed(path: Path) -> bool:
    """Whether the file will get no more rows."""
    try:
        with _reading(path) as connection:
            row = connection.execute("SELECT sealed FROM spool").fetchone()
    except sqlite3.OperationalError:
        return False
    return bool(row and row[0])


def expire(folder: Path, *, before_s: float) -> tuple[Path, ...]:
    """Delete files whose last change is older than `before_s`; returns them."""
    old = [path for path in spool_files(folder) if changed_s(path) < before_s]
    for path in old:
        _unlink(path)
    return tuple(old)


def _unlink(path: Path) -> None:
    for suffix in ("-wal", "-shm", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def changed_s(path: Path) -> float:
    """When rows were last added; new ones lie in the WAL until a checkpoint.

    Infinity when another process deleted the file meanwhile.
    """
    times = []
    for file in (path, path.with_name(path.name + "-wal")):
        with suppress(FileNotFoundError):
            times.append(file.stat().st_mtime)
    return max(times, default=math.inf)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A read-only connection that is closed at the end."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()


def iter_spool(folder: Path) -> Iterator[Event]:
    """All events of a spool folder, file by file (for reports)."""
    for path in spool_files(folder):
        after = 0
        while rows := read_events(path, after_seq=after):
            yield from (row.event for row in rows)
            after = rows[-1].seq
