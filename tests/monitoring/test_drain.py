from __future__ import annotations

import sqlite3
from pathlib import Path

from monitoring.drain import MOST_AHEAD, Calendar, open_readers, take_tick
from redshank.events import EventWriter
from redshank.store.monitor import Cursor
from tests.monitoring.field import event

NOW = 3


def spool(folder: Path, worker: str, *times_s: float) -> None:
    with EventWriter(folder, worker) as writer:
        writer.append(event(worker, at_s) for at_s in times_s)


def ticks(
    folder: Path, cursors: dict[str, Cursor], last_tick: int = -1, now_tick: int = NOW
) -> dict[int, list[float]]:
    readers = open_readers(folder, cursors)
    found: dict[int, list[float]] = {}
    while True:
        after = max([last_tick, *found])
        one = take_tick(readers, Calendar(10.0, now_tick, after))
        if one is None:
            return found
        tick, events, moved = one
        found[tick] = [e.received_at for e in events]
        cursors |= moved


def test_workers_are_merged_into_closed_ticks_in_order_of_time(tmp_path: Path) -> None:
    spool(tmp_path, "a", 1.0, 12.0, 35.0)
    spool(tmp_path, "b", 0.5, 11.0, 25.0)
    cursors: dict[str, Cursor] = {}
    assert ticks(tmp_path, cursors) == {0: [0.5, 1.0], 1: [11.0, 12.0], 2: [25.0]}
    assert cursors == {"a-1.db": Cursor(2, 1), "b-1.db": Cursor(3, 2)}
    assert ticks(tmp_path, cursors, last_tick=2) == {}  # tick 3 is open


def test_a_row_behind_a_later_one_counts_there(tmp_path: Path) -> None:
    spool(tmp_path, "a", 1.0, 12.0, 9.0)
    assert ticks(tmp_path, {}) == {0: [1.0], 1: [9.0, 12.0]}


def test_what_was_evaluated_stays_and_late_rows_come_after_it(tmp_path: Path) -> None:
    spool(tmp_path, "a", 1.0, 2.0)
    assert ticks(tmp_path, {}, last_tick=1) == {2: [1.0, 2.0]}


def test_a_row_that_is_written_while_later_ticks_are_evaluated_comes_after_them(
    tmp_path: Path,
) -> None:
    writer = EventWriter(tmp_path, "slow")
    writer.append([event("slow", 1.0)])
    spool(tmp_path, "quick", 12.0)
    readers = open_readers(tmp_path, {})
    for after, expected in ((-1, 0), (0, 1)):
        found = take_tick(readers, Calendar(10.0, NOW, after))
        assert found is not None
        assert found[0] == expected
    writer.append([event("slow", 2.0)])  # tick 0 is over, and so is tick 1
    found = take_tick(readers, Calendar(10.0, NOW, 1))
    writer.seal()
    assert found is not None
    assert (found[0], [e.received_at for e in found[1]]) == (2, [2.0])


def test_a_clock_that_was_ahead_for_a_while_holds_up_nothing(tmp_path: Path) -> None:
    spool(tmp_path, "a", 1.0, 1e9, 12.0, 25.0)
    assert ticks(tmp_path, {}) == {0: [1.0], 2: [12.0, 25.0, 1e9]}


def test_a_clock_that_is_a_little_ahead_waits_for_its_tick(tmp_path: Path) -> None:
    ahead_s = 10.0 * (NOW + MOST_AHEAD) + 1
    spool(tmp_path, "a", 1.0, ahead_s)
    cursors: dict[str, Cursor] = {}
    assert ticks(tmp_path, cursors) == {0: [1.0]}
    assert ticks(tmp_path, cursors, last_tick=0, now_tick=NOW + MOST_AHEAD + 1) == {
        NOW + MOST_AHEAD: [ahead_s]
    }


def test_after_our_own_clock_was_set_back_events_go_on_in_the_next_number(tmp_path: Path) -> None:
    spool(tmp_path, "a", 31.0, 32.0)
    assert ticks(tmp_path, {}, last_tick=8640) == {8641: [31.0, 32.0]}
    assert ticks(tmp_path, {}, last_tick=NOW) == {}  # a second or two: it waits


def test_a_file_that_cannot_be_read_waits_and_holds_up_nobody(tmp_path: Path) -> None:
    spool(tmp_path, "a", 1.0)
    (tmp_path / "b-1.db").write_bytes(b"no database at all, but quite long" * 50)
    spool(tmp_path, "c", 2.0, 3.0)
    with sqlite3.connect(tmp_path / "c-1.db") as connection:
        connection.execute("UPDATE events SET event = '{' WHERE seq = 2")
    connection.close()
    readers = open_readers(tmp_path, {})
    found = take_tick(readers, Calendar(10.0, NOW, -1))
    assert found is not None
    assert [e.domain for e in found[1]] == ["a"]
    problems = [reader.problem for reader in readers]
    assert problems[0] == ""
    assert "is no spool" in problems[1]
    assert "damaged" in problems[2]


def test_no_spool_is_no_tick(tmp_path: Path) -> None:
    assert ticks(tmp_path / "none", {}) == {}
