"""What the evaluator takes, refuses, forgets and leaves for later."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from monitoring.names import OTHER
from redshank.errors import ConfigError
from redshank.events import EventWriter
from tests.monitoring.field import PLAN, START, Site, Station, event, write_spool

TICKS = 12


@pytest.fixture
def station(tmp_path: Path) -> Station:
    write_spool(tmp_path / "spool", [Site("home")], TICKS)
    return Station(tmp_path)


def test_errors_are_counted_and_are_no_evidence(tmp_path: Path) -> None:
    station = Station(tmp_path)
    with EventWriter(station.spool, "w") as writer:
        bad = event("a", START + 0.5, outcome="bad_image", class_index=-1, confidence=0.0)
        writer.append([bad, event("a", START + 0.6)])
    station.now_s = START + 1
    station.evaluator().pass_once()
    window = station.store.windows()[0]
    assert (window.events, window.errors, window.scenes) == (2, 1, 1)
    assert window.cells_CZ.sum() == 1.0


def test_domains_beyond_the_limit_are_other(tmp_path: Path) -> None:
    station = Station(tmp_path, plan=dataclasses.replace(PLAN, max_domains=2))
    with EventWriter(station.spool, "w") as writer:
        writer.append(event(f"d{n}", START + 0.1 * n) for n in range(5))
    station.now_s = START + 1
    evaluator = station.evaluator()
    evaluator.pass_once()
    assert sorted({row.key.domain for row in evaluator.answering_rows()}) == ["d0", "d1", OTHER]


def test_a_deleted_spool_is_forgotten(station: Station) -> None:
    station.now_s = START + TICKS
    evaluator = station.evaluator()
    evaluator.pass_once()
    assert len(station.store.cursors()) == 2
    (station.spool / "w0-1.db").unlink()
    evaluator.pass_once()
    assert list(station.store.cursors()) == ["w1-1.db"]


def test_a_spool_folder_that_is_away_for_a_while_is_not_counted_twice(station: Station) -> None:
    station.now_s = START + TICKS
    evaluator = station.evaluator()
    assert evaluator.pass_once().events == 10 * TICKS
    station.spool.rename(station.root / "away")
    evaluator.pass_once()
    (station.root / "away").rename(station.spool)
    station.now_s += 5
    assert evaluator.pass_once().events == 0


def test_a_damaged_spool_is_a_problem_and_the_others_go_on(station: Station) -> None:
    (station.spool / "bad-1.db").write_bytes(b"no database at all" * 100)
    station.now_s = START + TICKS
    done = station.evaluator().pass_once()
    assert done.events == 10 * TICKS
    assert "bad-1.db is no spool" in done.problems[0]


def test_another_tick_length_is_refused(station: Station) -> None:
    station.evaluator()
    with pytest.raises(ConfigError, match=r"counts ticks of 1.0 s, the settings say 5.0 s"):
        Station(station.root, plan=dataclasses.replace(PLAN, tick_s=5.0)).evaluator()


def test_a_stop_is_heeded_between_ticks_and_the_rest_follows(station: Station) -> None:
    station.now_s = START + TICKS
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    evaluator = station.evaluator()
    assert evaluator.pass_once(stop).ticks == 3
    assert evaluator.pass_once().ticks == TICKS - 3


def test_no_events_are_no_ticks(tmp_path: Path) -> None:
    evaluator = Station(tmp_path).evaluator()
    assert evaluator.pass_once().ticks == 0
    assert evaluator.answering_rows() == ()
