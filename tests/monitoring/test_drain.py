from __future__ import annotations

from pathlib import Path

from monitoring.drain import open_readers, take_tick
from redshank.events import EventWriter
from redshank.store.monitor import Cursor
from tests.monitoring.field import event


def spool(folder: Path, worker: str, *times_s: float) -> None:
    with EventWriter(folder, worker) as writer:
        writer.append(event(worker, at_s) for at_s in times_s)


def ticks(folder: Path, cursors: dict[str, Cursor], last_tick: int = -1) -> dict[int, list[float]]:
    readers = open_readers(folder, cursors, tick_s=10.0, last_tick=last_tick)
    found = {}
    while (one := take_tick(readers, before_tick=3)) is not None:
        tick, events, moved = one
        found[tick] = [e.received_at for e in events]
        cursors |= moved
    return found


def test_workers_are_merged_into_closed_ticks_in_order_of_time(tmp_path: Path) -> None:
    spool(tmp_path, "a", 1.0, 12.0, 35.0)
    spool(tmp_path, "b", 0.5, 11.0, 25.0)
    cursors: dict[str, Cursor] = {}
    assert ticks(tmp_path, cursors) == {0: [0.5, 1.0], 1: [11.0, 12.0], 2: [25.0]}
    assert cursors == {"a-1.db": Cursor(2, 1), "b-1.db": Cursor(3, 2)}
    assert ticks(tmp_path, cursors) == {}  # tick 3 is open


def test_a_row_behind_a_later_one_counts_there(tmp_path: Path) -> None:
    spool(tmp_path, "a", 1.0, 12.0, 9.0)
    assert ticks(tmp_path, {}) == {0: [1.0], 1: [9.0, 12.0]}


def test_what_was_evaluated_stays_and_late_rows_come_after_it(tmp_path: Path) -> None:
    spool(tmp_path, "a", 1.0, 2.0)
    assert ticks(tmp_path, {}, last_tick=1) == {2: [1.0, 2.0]}


def test_no_spool_is_no_tick(tmp_path: Path) -> None:
    assert ticks(tmp_path / "none", {}) == {}
