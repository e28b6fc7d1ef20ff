from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from monitoring.evaluator import Evaluator
from monitoring.replay import differing
from redshank.errors import ConflictError
from redshank.events import EventWriter
from redshank.files import rfc3339
from redshank.store.monitor import TickWrite
from redshank.store.monitor_rows import StreamRow
from redshank.trigger import Trigger
from tests.monitoring.field import (
    PLAN,
    START,
    Site,
    Station,
    event,
    site_events,
    write_spool,
    write_test_bundle,
)

CHANGE, TICKS, PER_TICK = 15, 32, 25
FLEET = (
    Site("home", per_tick=PER_TICK),
    Site("warm_lamp", CHANGE, novelty=3.0, per_tick=PER_TICK),
    Site("fog", CHANGE, spread=0.25, per_tick=PER_TICK),
)


@pytest.fixture
def station(tmp_path: Path) -> Station:
    write_test_bundle(tmp_path / "bundles")
    write_spool(tmp_path / "spool", FLEET, TICKS)
    return Station(tmp_path)


def rows_of(evaluator: Evaluator) -> dict[str, StreamRow]:
    return {row.key.domain: row for row in evaluator.answering_rows()}


def test_only_the_harmed_site_is_degraded_and_says_when_and_why(station: Station) -> None:
    station.now_s = START + TICKS
    evaluator = station.evaluator()
    done = evaluator.pass_once()
    assert (done.ticks, done.events) == (TICKS, 3 * PER_TICK * TICKS)
    rows = rows_of(evaluator)
    assert rows["home"].state == "healthy"
    assert rows["warm_lamp"].state in ("drift", "unknown")  # it informs and harms nobody
    assert rows["fog"].state == "degraded"
    alarm = next(a for a in station.store.alarms() if a.kind == "degraded")
    assert alarm.key.domain == "fog"
    assert alarm.cause == "look"
    assert abs(alarm.onset_s - (START + CHANGE)) <= 2
    assert alarm.images_since_onset <= 150
    assert alarm.raised_s - alarm.onset_s <= 15
    assert "Mean confidence went from 9" in alarm.sentence
    drop = rows["fog"].detail["drop"]
    assert drop["look"] > 0.08 > abs(drop["mix"])
    assert rows["fog"].detail["alarm"]["onset"] == rfc3339(alarm.onset_s)


def test_one_trigger_for_the_harmed_site_however_often_it_is_delivered(station: Station) -> None:
    station.now_s = START + TICKS
    station.evaluator().pass_once()
    assert [t.domains for t in station.triggers] == [("fog",)]
    trigger = station.triggers[0]
    assert trigger.actor == "evaluator"
    assert trigger.evidence["reason"].startswith("Mean confidence went")
    station.evaluator().pass_once()
    assert len(station.triggers) == 1
    assert station.store.unsent_triggers() == ()


def test_a_trigger_that_cannot_be_delivered_waits(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(_: Trigger) -> bool:
        raise ConflictError("control.db was locked")

    station.now_s = START + TICKS
    monkeypatch.setattr(station, "send", locked)
    assert "control.db was locked" in station.evaluator().pass_once().problems[0]
    monkeypatch.undo()
    assert station.evaluator().pass_once().problems == ()
    assert len(station.triggers) == 1


def test_stopping_between_ticks_changes_nothing(tmp_path: Path, station: Station) -> None:
    station.now_s = START + TICKS
    station.evaluator().pass_once()
    halting = Station(tmp_path / "other")
    write_test_bundle(halting.root / "bundles")
    write_spool(halting.spool, FLEET, TICKS)
    for tick in (7.5, 8, 14, 18.9, TICKS):
        halting.now_s = START + tick
        halting.evaluator().pass_once()
    assert_same(station, halting)


def test_a_tick_that_could_not_be_written_is_done_again(
    tmp_path: Path, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.now_s = START + TICKS
    evaluator = station.evaluator()
    commit, tries = evaluator.store.commit, []

    def refused_once(change: TickWrite) -> None:
        tries.append(change.tick)
        if len(tries) == 20:
            raise ConflictError("monitor.db was locked")
        commit(change)

    monkeypatch.setattr(evaluator.store, "commit", refused_once)
    with pytest.raises(ConflictError):
        evaluator.pass_once()
    evaluator.pass_once()
    calm = Station(tmp_path / "calm", now_s=START + TICKS)
    write_test_bundle(calm.root / "bundles")
    write_spool(calm.spool, FLEET, TICKS)
    calm.evaluator().pass_once()
    assert_same(calm, station)


def assert_same(first: Station, second: Station) -> None:
    ours, theirs = first.store, second.store
    assert [s.memory for s in ours.streams()] == [s.memory for s in theirs.streams()]
    assert ours.cursors() == theirs.cursors()
    for mine, other in zip(ours.windows(), theirs.windows(), strict=True):
        assert mine.cells_CZ.tobytes() == other.cells_CZ.tobytes()
        assert (mine.tick, mine.relative, mine.state) == (other.tick, other.relative, other.state)
    assert [a.alarm_id for a in ours.alarms()] == [a.alarm_id for a in theirs.alarms()]


def test_windows_alone_rebuild_the_state(station: Station) -> None:
    station.now_s = START + TICKS
    station.evaluator().pass_once()
    assert differing(station.store, station.root / "bundles", PLAN) == []
    stricter = dataclasses.replace(PLAN, burn_in_scenes=180)
    assert len(differing(station.store, station.root / "bundles", stricter)) == 3


def test_an_event_that_comes_late_counts_in_the_next_tick(tmp_path: Path) -> None:
    station = Station(tmp_path)
    writer = EventWriter(station.spool, "w")
    writer.append([event("a", START + 5.5)])
    station.now_s = START + 6
    evaluator = station.evaluator()
    assert evaluator.pass_once().events == 1
    writer.append([event("a", START + 5.6), event("a", START + 6.5)])
    assert evaluator.pass_once().events == 0  # tick 6 is still open
    station.now_s = START + 7
    assert evaluator.pass_once().events == 2
    writer.seal()
    assert [w.events for w in station.store.windows()] == [1, 2]


def test_an_absolute_reference_sees_a_site_that_is_bad_from_its_first_image(
    tmp_path: Path,
) -> None:
    station = Station(tmp_path)
    write_test_bundle(tmp_path / "bundles", held_out=True)
    write_spool(station.spool, [Site("cellar", 0, spread=0.25), Site("home")], 14)
    station.now_s = START + 14
    evaluator = station.evaluator()
    evaluator.pass_once()
    rows = rows_of(evaluator)
    assert rows["cellar"].state == "degraded"
    assert rows["cellar"].detail["alarm"]["reference"] == "absolute"
    assert rows["home"].state == "learning"
    assert rows["home"].sentence.startswith("Learning: 140 of 150 burn-in scenes.")


def test_more_hard_classes_are_drift_and_not_degraded(tmp_path: Path) -> None:
    hardness = (0.5, 0.5, 4.0, 4.0)
    station = Station(tmp_path)
    write_test_bundle(tmp_path / "bundles", hardness=hardness)
    market = Site(
        "market", CHANGE, mix=(0.02, 0.02, 0.48, 0.48), hardness=hardness, per_tick=PER_TICK
    )
    write_spool(station.spool, [market], TICKS)
    station.now_s = START + TICKS
    evaluator = station.evaluator()
    evaluator.pass_once()
    assert rows_of(evaluator)["market"].state == "drift"
    assert rows_of(evaluator)["market"].detail["alarm"]["cause"] in ("mix", "shape")
    assert station.triggers == []


def test_an_alarm_ends_when_the_drift_has_gone(tmp_path: Path) -> None:
    station = Station(tmp_path)
    write_events(station, Site("gate", 20, spread=0.25), 30)
    write_events(station, Site("gate", per_tick=150), 60, offset_s=30)
    station.now_s = START + 90
    evaluator = station.evaluator()
    evaluator.pass_once()
    alarms = [a for a in station.store.alarms() if a.kind == "degraded"]
    assert [a.closed_reason for a in alarms] == ["the evidence has faded"]
    assert rows_of(evaluator)["gate"].state == "healthy"


def write_events(station: Station, site: Site, ticks: int, offset_s: float = 0.0) -> int:
    with EventWriter(station.spool, "w") as writer:
        return writer.append(
            dataclasses.replace(
                e, received_at=e.received_at + offset_s, sequence_id=f"{offset_s}{e.sequence_id}"
            )
            for e in site_events(site, ticks)
        )


def test_a_new_version_ends_the_alarms_of_the_old_one_and_learns_anew(station: Station) -> None:
    station.now_s = START + TICKS
    station.answering = frozenset({"b1"})
    evaluator = station.evaluator()
    evaluator.pass_once()
    assert rows_of(evaluator)["fog"].state == "degraded"
    station.answering = frozenset({"b2"})
    with EventWriter(station.spool, "late") as writer:
        writer.append([event("fog", START + TICKS + 0.5, version="b2")])
    station.now_s += 2
    evaluator.pass_once()
    assert evaluator.open_alarms == ()
    assert {a.closed_reason for a in station.store.alarms()} == {"another version answers now"}
    old = next(r for r in station.store.streams() if r.key == ("default", "b1", "fog"))
    assert old.sentence.startswith("This version answers no traffic now")
    row = rows_of(evaluator)["fog"]
    assert (row.key.version, row.state) == ("b2", "learning")


def test_a_version_that_does_not_answer_raises_no_alarm(station: Station) -> None:
    station.now_s = START + TICKS
    station.answering = frozenset({"b2"})
    evaluator = station.evaluator()
    evaluator.pass_once()
    assert station.store.alarms() == ()
    assert station.triggers == []
    row = next(r for r in station.store.streams() if r.key.domain == "fog")
    assert row.state == "degraded"  # what a shadow shows is told, and nothing follows
    assert row.sentence.startswith("This version answers no traffic now")
