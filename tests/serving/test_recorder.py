from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from redshank.events import Event, EventWriter, encode_event, is_sealed, iter_spool, spool_files
from redshank.fieldstore import FieldStore
from serving.capture_rate import BURST, CaptureRate
from serving.metrics import Metrics
from serving.recorder import Offer, Recorder, event_text
from tests.examples import make_event

MakeImage = Callable[[int], bytes]


def event(number: int) -> Event:
    return make_event(event_id=f"{number:06d}", domain="gate-1", sequence_id=f"s{number}")


class Disk:
    """A spool on a disk that can be full."""

    def __init__(self, folder: Path) -> None:
        self.writer = EventWriter(folder, "w1")
        self.full = False
        self.blocked = threading.Event()
        self.blocked.set()
        self.failures = 0
        self.deleted_rows = 0

    def append_texts(self, rows: Sequence[str]) -> int:
        self.blocked.wait()
        if self.full:
            self.failures += 1
            raise sqlite3.OperationalError("database or disk is full")
        return self.writer.append_texts(rows)

    def seal(self) -> None:
        self.writer.seal()


def recorder(disk: Any, metrics: Metrics, **changes: Any) -> Recorder:
    options: dict[str, Any] = {"field": None, "flush_s": 0.01, "flush_events": 10, **changes}
    field = options.pop("field")
    made = Recorder(disk, field, metrics, **options)
    made.start()
    return made


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


def test_everything_is_written_in_order_and_sealed(tmp_path: Path) -> None:
    metrics = Metrics()
    made = recorder(EventWriter(tmp_path, "w1"), metrics)
    for number in range(257):
        made.record([event_text(event(number))])
    made.stop()
    assert [e.event_id for e in iter_spool(tmp_path)] == [f"{n:06d}" for n in range(257)]
    assert all(is_sealed(path) for path in spool_files(tmp_path))
    assert value(metrics, "redshank_events_written_total") == 257


def test_a_full_disk_delays_and_then_loses_nothing(tmp_path: Path) -> None:
    metrics, disk = Metrics(), Disk(tmp_path)
    disk.full = True
    made = recorder(disk, metrics)
    for number in range(25):
        made.record([event_text(event(number))])
    while disk.failures < 2:
        time.sleep(0.01)
    disk.full = False
    made.stop()
    assert [e.event_id for e in iter_spool(tmp_path)] == [f"{n:06d}" for n in range(25)]
    assert value(metrics, "redshank_events_dropped_total", reason="spool_error") == 0


def test_memory_is_bounded_while_the_disk_is_full(tmp_path: Path) -> None:
    metrics, disk = Metrics(), Disk(tmp_path)
    disk.full = True
    made = recorder(disk, metrics, most_events=30)
    made.record([event_text(event(0))])
    while not disk.failures:
        time.sleep(0.01)
    for number in range(1, 100):
        made.record([event_text(event(number))])
    made.stop()
    dropped = sum(
        value(metrics, "redshank_events_dropped_total", reason=reason)
        for reason in ("spool_error", "queue_full")
    )
    lost_at_the_end = value(metrics, "redshank_events_dropped_total", reason="shutdown")
    assert (dropped, lost_at_the_end) == (70, 30)
    assert list(iter_spool(tmp_path)) == []


def test_a_slow_disk_never_blocks_the_caller(tmp_path: Path) -> None:
    metrics, disk = Metrics(), Disk(tmp_path)
    disk.blocked.clear()
    made = recorder(disk, metrics, most_events=50)
    for number in range(200):
        made.record([event_text(event(number))])  # returns although the writer hangs
    disk.blocked.set()
    made.stop()
    written = value(metrics, "redshank_events_written_total")
    dropped = value(metrics, "redshank_events_dropped_total", reason="queue_full")
    assert written + dropped == 200
    assert dropped >= 100


def test_captured_images_are_marked_in_their_events(tmp_path: Path, image: MakeImage) -> None:
    metrics, store = Metrics(), FieldStore(tmp_path / "field")
    made = recorder(EventWriter(tmp_path / "spool", "w1"), metrics, field=store)
    for number in (1, 2, 2):
        data = image(number)
        digest = hashlib.sha256(data).hexdigest()
        made.record([Offer(dataclasses.replace(event(number), image_sha256=digest), data)])
    bad = b"no image"
    digest = hashlib.sha256(bad).hexdigest()
    made.record([Offer(dataclasses.replace(event(3), image_sha256=digest), bad)])
    made.record([event_text(event(4))])
    made.stop()
    assert [e.stored for e in iter_spool(tmp_path / "spool")] == [True, True, False, False, False]
    assert len(store.images("gate-1")) == 2
    for outcome, count in (("stored", 2), ("passed_over", 1), ("failed", 1)):
        assert value(metrics, "redshank_captures_total", outcome=outcome) == count


def test_images_in_memory_are_bounded_in_bytes(tmp_path: Path) -> None:
    metrics, disk = Metrics(), Disk(tmp_path)
    disk.blocked.clear()
    made = recorder(disk, metrics, most_image_bytes=1000, flush_s=60.0, flush_events=1000)
    for number in range(5):
        made.record([Offer(event(number), b"x" * 400)])
    disk.blocked.set()
    made.stop()
    assert value(metrics, "redshank_captures_total", outcome="behind") == 3
    assert value(metrics, "redshank_events_written_total") == 5


def test_images_over_the_rate_are_not_wanted_and_counted(tmp_path: Path) -> None:
    metrics = Metrics()
    made = recorder(EventWriter(tmp_path, "w1"), metrics, rate=CaptureRate(1.0))
    assert sum(made.wants("gate-1", 100.0) for _ in range(BURST + 7)) == BURST
    assert made.wants("gate-2", 100.0)
    made.record([event_text(event(0))])
    assert value(metrics, "redshank_captures_total", outcome="over_rate") == 7
    assert made.wants("gate-1", 102.0)
    made.record([event_text(event(1))])
    made.stop()
    assert value(metrics, "redshank_captures_total", outcome="over_rate") == 7


def test_a_text_is_that_of_the_library() -> None:
    one = make_event(domain='qu"ay', sequence_id="é", confidence=1 / 3, stored=True)
    assert json.loads(event_text(one)) == json.loads(encode_event(one))


def test_a_failing_disk_is_not_asked_again_at_every_request(tmp_path: Path) -> None:
    metrics, disk = Metrics(), Disk(tmp_path)
    disk.full = True
    made = recorder(disk, metrics, flush_events=5)
    for number in range(5):
        made.record([event_text(event(number))])
    while not disk.failures:
        time.sleep(0.01)
    for number in range(5, 200):
        made.record([event_text(event(number))])
        time.sleep(0.001)  # time for the thread to try, if it were woken
    assert disk.failures <= 2  # RETRY_S is a second
    disk.full = False
    made.stop()
    assert value(metrics, "redshank_events_written_total") == 200


def test_a_picture_that_breaks_the_field_store_costs_no_event(tmp_path: Path) -> None:
    class Broken:
        def add(self, *_: object, **__: object) -> bool:
            raise ZeroDivisionError

    metrics = Metrics()
    made = recorder(EventWriter(tmp_path, "w1"), metrics, field=Broken())
    made.record([Offer(event(0), b"x")])
    made.record([event_text(event(1))])
    made.stop()
    assert [e.event_id for e in iter_spool(tmp_path)] == ["000000", "000001"]
    assert value(metrics, "redshank_captures_total", outcome="failed") == 1


def test_events_of_a_deleted_file_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics, spool = Metrics(), tmp_path / "spool"
    made = recorder(EventWriter(spool, "w1"), metrics)
    made.record([event_text(event(n)) for n in range(7)])
    while value(metrics, "redshank_events_written_total") < 7:
        time.sleep(0.01)
    shutil.rmtree(spool)
    made.record([event_text(event(n)) for n in range(7, 10)])
    made.stop()
    assert value(metrics, "redshank_events_dropped_total", reason="file_deleted") == 7
    assert "deleted with 7 events" in caplog.text
    assert [e.event_id for e in iter_spool(spool)] == ["000007", "000008", "000009"]


def test_a_full_field_store_is_said_once(
    tmp_path: Path, image: MakeImage, caplog: pytest.LogCaptureFixture
) -> None:
    metrics, root = Metrics(), tmp_path / "field"
    root.touch()  # a file: nothing can be kept there
    made = recorder(EventWriter(tmp_path / "spool", "w1"), metrics, field=FieldStore(root))
    made.record([Offer(event(n), image(n)) for n in range(5)])
    made.stop()
    assert value(metrics, "redshank_captures_total", outcome="failed") == 5
    assert caplog.text.count("was not kept") == 1
