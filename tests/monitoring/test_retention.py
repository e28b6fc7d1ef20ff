"""The database stays bounded, and replay still works on what is left."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from monitoring.operators import AcceptRequest
from monitoring.replay import differing, rebuild
from redshank.events import EventWriter
from redshank.store.monitor_retention import checkpoints
from redshank.store.monitor_rows import StreamKey
from tests.monitoring.field import PLAN, START, Site, Station, event, write_spool, write_test_bundle

KEEP, TICKS = 20, 70
SAID = AcceptRequest(3, START + 42.5, StreamKey("default", "b1", "fog"), "eve", "winter")
BRIEF = dataclasses.replace(PLAN, keep_ticks=KEEP)


@pytest.fixture
def station(tmp_path: Path) -> Station:
    write_test_bundle(tmp_path / "bundles", held_out=True)
    write_spool(tmp_path / "spool", [Site("home"), Site("fog", 30, spread=0.25)], TICKS)
    return Station(tmp_path, plan=BRIEF)


def said_after(seq: int) -> list[AcceptRequest]:
    return [SAID] if seq < SAID.seq else []


def run(station: Station, *, named: frozenset[str] | None = None, every: int = 5) -> None:
    for tick in range(every, TICKS + 1, every):
        station.now_s = START + tick
        evaluator = station.evaluator()
        evaluator.around = dataclasses.replace(
            evaluator.around,
            named=lambda _: named,
            requests=said_after if tick > 42 else lambda _: (),
        )
        evaluator.pass_once()


def test_old_windows_go_and_the_rest_rebuilds_the_same_state(station: Station) -> None:
    run(station)
    store = station.store
    ticks = {window.tick - int(START) for window in store.windows()}
    assert max(ticks) == TICKS - 1
    assert KEEP <= len(ticks) <= 1.5 * KEEP + 5
    assert {c.tick for c in checkpoints(store.engine).values()} == {min(ticks) + int(START) - 1}
    assert differing(store, station.root / "bundles", BRIEF) == []
    assert len(rebuild(store, station.root / "bundles", BRIEF)) == 2
    calm = Station(station.root / "calm", plan=PLAN)
    write_test_bundle(calm.root / "bundles", held_out=True)
    write_spool(calm.spool, [Site("home"), Site("fog", 30, spread=0.25)], TICKS)
    run(calm)
    assert [s.memory for s in calm.store.streams()] == [s.memory for s in store.streams()]
    assert len(calm.store.windows()) == 2 * TICKS  # 0 keeps everything


def test_a_wrong_window_after_the_checkpoint_is_noticed(station: Station) -> None:
    run(station)
    stricter = dataclasses.replace(BRIEF, margin=0.2)
    assert len(differing(station.store, station.root / "bundles", stricter)) == 2


def test_streams_of_versions_that_no_release_names_are_forgotten(station: Station) -> None:
    with EventWriter(station.spool, "old") as writer:
        writer.append([event("attic", START + 1.5, version="b0")])
        writer.append([event("attic", START + 2.5, version="b1")])
    run(station, named=frozenset({"b1"}))
    keys = {row.key for row in station.store.streams()}
    assert StreamKey("default", "b0", "attic") not in keys
    assert StreamKey("default", "b1", "attic") in keys  # silent, and of a version with a name
    assert not [w for w in station.store.windows() if w.key.domain == "attic"]  # too old
    assert differing(station.store, station.root / "bundles", BRIEF) == []


def test_nothing_is_forgotten_where_no_release_is_known(station: Station) -> None:
    with EventWriter(station.spool, "old") as writer:
        writer.append([event("attic", START + 1.5, version="b0")])
    run(station, named=None)
    assert StreamKey("default", "b0", "attic") in {row.key for row in station.store.streams()}
