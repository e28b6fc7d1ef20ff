from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from redshank.errors import InputError
from redshank.events import (
    Event,
    EventWriter,
    expire,
    is_sealed,
    iter_spool,
    read_events,
    spool_files,
)
from tests.examples import make_event

ROOT = Path(__file__).resolve().parents[2]


def _event(number: int) -> Event:
    return make_event(event_id=f"e{number:06d}", received_at=float(number))


def test_events_come_back_in_order_by_cursor(tmp_path: Path) -> None:
    with EventWriter(tmp_path, "w1") as writer:
        writer.append(_event(n) for n in range(5))
        first = read_events(writer.path, after_seq=0, limit=3)
        writer.append([_event(5)])
        rest = read_events(writer.path, after_seq=first[-1].seq)
        path = writer.path
    assert [row.event for row in (*first, *rest)] == [_event(n) for n in range(6)]
    assert is_sealed(path)


def test_full_file_is_sealed_and_the_next_begins(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, "w1", max_rows=4)
    for n in range(10):
        writer.append([_event(n)])
    writer.seal()
    assert [path.name for path in spool_files(tmp_path)] == ["w1-1.db", "w1-2.db", "w1-3.db"]
    assert all(is_sealed(path) for path in spool_files(tmp_path))
    assert list(iter_spool(tmp_path)) == [_event(n) for n in range(10)]
    assert EventWriter(tmp_path, "w1").path.name == "w1-4.db"


def test_lost_file_costs_its_rows_only(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, "w1")
    writer.append([_event(0)])
    for path in tmp_path.iterdir():
        path.unlink()
    writer.append([_event(1)])
    writer.seal()
    assert list(iter_spool(tmp_path)) == [_event(1)]


def test_failed_append_writes_nothing_and_the_next_works(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, "w1")
    writer.append([_event(0)])
    blocker = sqlite3.connect(writer.path)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        writer.append([_event(1)])
    blocker.close()
    assert writer.append([_event(1)]) == 1
    writer.seal()
    assert list(iter_spool(tmp_path)) == [_event(0), _event(1)]


def test_field_of_a_newer_server_is_read_past(tmp_path: Path) -> None:
    with EventWriter(tmp_path, "w1") as writer:
        writer.append([_event(0)])
        path = writer.path
    values = dataclasses.asdict(_event(1)) | {"colour": "red"}
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("INSERT INTO events (event) VALUES (?)", (json.dumps(values),))
    connection.close()
    assert [row.event for row in read_events(path, after_seq=0)] == [_event(0), _event(1)]


def test_file_that_is_no_spool_is_refused_and_an_empty_one_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "w-1.db").write_bytes(b"not a database at all, but long enough to be looked at" * 9)
    with pytest.raises(InputError, match="is no spool"):
        read_events(tmp_path / "w-1.db", after_seq=0)
    (tmp_path / "w-2.db").touch()
    assert read_events(tmp_path / "w-2.db", after_seq=0) == ()
    assert not is_sealed(tmp_path / "w-2.db")


def test_old_files_expire_with_their_companions(tmp_path: Path) -> None:
    with EventWriter(tmp_path, "w1", max_rows=1) as writer:
        writer.append([_event(0)])
        writer.append([_event(1)])
    os.utime(tmp_path / "w1-1.db", (100.0, 100.0))
    assert expire(tmp_path, before_s=200.0) == (tmp_path / "w1-1.db",)
    assert list(iter_spool(tmp_path)) == [_event(1)]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_events import _event
from redshank.events import EventWriter
writer = EventWriter(Path({folder!r}), "w1")
for batch in range(100_000):
    writer.append(_event(batch * 5 + n) for n in range(5))
    print(batch, flush=True)
"""


def test_kill_loses_no_acknowledged_batch_and_leaves_no_half_one(tmp_path: Path) -> None:
    code = WRITER.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline() for _ in range(20)]
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    found = list(iter_spool(tmp_path))
    assert len(found) % 5 == 0
    assert len(found) >= 5 * len([line for line in acknowledged if line.endswith("\n")])
    assert found == [_event(n) for n in range(len(found))]


def test_an_unsealed_full_file_is_no_reason_to_write_its_rows_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = EventWriter(tmp_path, "w1", max_rows=2)

    def fail() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "seal", fail)
        assert writer.append([_event(0), _event(1)]) == 2  # they are in, whatever sealing did
    assert writer.append([_event(2)]) == 1
    assert list(iter_spool(tmp_path)) == [_event(0), _event(1), _event(2)]
    assert is_sealed(tmp_path / "w1-1.db")


def test_a_full_disk_breeds_no_files(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path, "w1")
    rows = [_event(n) for n in range(2000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, hard))
        for _ in range(5):
            with pytest.raises(sqlite3.Error):
                writer.append(rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert list(tmp_path.iterdir()) == []
    writer.append(rows)
    assert sum(1 for _ in iter_spool(tmp_path)) == 2000
    writer.seal()


def test_files_that_another_process_expired_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EventWriter(tmp_path, "w1") as writer:
        writer.append([_event(0)])
    present = spool_files(tmp_path)
    assert expire(tmp_path, before_s=time.time() + 60) == present
    monkeypatch.setattr("redshank.events.spool_files", lambda _: present)
    assert expire(tmp_path, before_s=time.time() + 60) == ()
    assert read_events(present[0], after_seq=0) == ()


def test_a_writer_starts_where_its_folder_cannot_be_made_yet(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.touch()  # a file in its place: a worker must start, answer and try again
    writer = EventWriter(folder, "w1")
    with pytest.raises(OSError, match="exists"):
        writer.append([make_event()])
    folder.unlink()
    assert writer.append([make_event()]) == 1
    assert len(spool_files(folder)) == 1
    writer.seal()
