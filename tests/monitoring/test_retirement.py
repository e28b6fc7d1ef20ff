"""An operator retires a domain: a camera that was taken down."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from monitoring.evaluator import Evaluator
from monitoring.operators import RETIRED, RetireRequest, request_retirement, requests_of
from monitoring.replay import differing
from redshank.errors import ConflictError, InputError
from redshank.events import EventWriter
from redshank.settings import Home, Settings
from redshank.store.control import open_control
from redshank.store.monitor_days import days_of
from redshank.store.monitor_rows import StreamKey
from tests.monitoring.field import (
    PLAN,
    START,
    Site,
    Station,
    event,
    refuse_first,
    site_events,
    write_spool,
    write_test_bundle,
)

CHANGE, ASKED, TICKS = 12, 24, 44
HOME = Site("home", per_tick=25)
FOG = Site("fog", CHANGE, spread=0.25, per_tick=25)
OLD = Site("fog", version="b0", per_tick=25)
SAID = RetireRequest(7, START + ASKED + 0.5, "default", "fog", "eve", "pole was cut down")


def make_station(root: Path, *, fog_ticks: int = ASKED) -> Station:
    """A station whose site fog, watched under two versions, sends for some ticks only."""
    for bundle in ("b0", "b1"):
        write_test_bundle(root / "bundles", bundle, held_out=True)
    write_spool(root / "spool", [HOME], TICKS)
    for name, site in (("fog", FOG), ("old", OLD)):
        with EventWriter(root / "spool", name) as writer:
            writer.append(list(site_events(site, fog_ticks)))
    return Station(root)


@pytest.fixture
def station(tmp_path: Path) -> Station:
    return make_station(tmp_path)


def evaluator_of(station: Station, *said: RetireRequest) -> Evaluator:
    evaluator = station.evaluator()
    around = dataclasses.replace(
        evaluator.around, requests=lambda seq: [one for one in said if one.seq > seq]
    )
    evaluator.around = around
    return evaluator


def states(evaluator: Evaluator) -> dict[str, str]:
    return {row.key.domain: row.state for row in evaluator.answering_rows()}


def test_it_leaves_the_list_under_every_version_and_its_alarms_end(station: Station) -> None:
    station.now_s = START + ASKED
    evaluator = evaluator_of(station, SAID)
    evaluator.pass_once()
    assert states(evaluator) == {"fog": "degraded", "home": "healthy"}  # its tick is still open
    station.now_s = START + TICKS
    evaluator.pass_once()
    assert states(evaluator) == {"home": "healthy"}
    assert {row.key for row in station.store.streams()} == {StreamKey("default", "b1", "home")}
    assert {window.key.domain for window in station.store.windows()} == {"home"}
    assert evaluator.open_alarms == ()
    (alarm,) = (a for a in station.store.alarms() if a.kind == "degraded")
    assert (alarm.closed_reason, alarm.closed_s) == (
        "retired by eve: pole was cut down",
        SAID.at_s,
    )


def test_the_others_notice_nothing(station: Station, tmp_path: Path) -> None:
    other = make_station(tmp_path / "other")
    other.now_s = station.now_s = START + TICKS
    evaluator_of(other).pass_once()
    evaluator_of(station, SAID).pass_once()
    kept = [row for row in other.store.streams() if row.key.domain == "home"]
    assert list(station.store.streams()) == kept
    assert differing(station.store, station.root / "bundles", PLAN) == []


def test_it_happens_once_whenever_the_evaluator_was_stopped(tmp_path: Path) -> None:
    whole = make_station(tmp_path / "whole", fog_ticks=TICKS)
    parts = make_station(tmp_path / "parts", fog_ticks=TICKS)
    whole.now_s = START + TICKS
    evaluator_of(whole, SAID).pass_once()
    for tick in (10, ASKED + 1, ASKED + 1.5, ASKED + 9, TICKS):
        parts.now_s = START + tick
        evaluator_of(parts, *([SAID] if tick > ASKED else [])).pass_once()
    for mine, theirs in zip(whole.store.streams(), parts.store.streams(), strict=True):
        assert mine == theirs
    assert differing(parts.store, parts.root / "bundles", PLAN) == []


def test_with_its_next_image_it_is_a_new_domain(tmp_path: Path) -> None:
    station = make_station(tmp_path, fog_ticks=ASKED + 3)
    station.now_s = START + TICKS
    evaluator = evaluator_of(station, SAID)
    evaluator.pass_once()
    (row,) = (r for r in evaluator.answering_rows() if r.key == ("default", "b1", "fog"))
    assert row.memory["totals"]["images"] == 2 * FOG.per_tick
    assert list(row.detail["evidence"]) == ["absolute"]  # its burn-in begins


def test_days_that_are_over_stay(tmp_path: Path) -> None:
    station = make_station(tmp_path)
    tomorrow_s = START + 86_400.0
    with EventWriter(station.spool, "next") as writer:
        writer.append([event("home", tomorrow_s + 0.5)])
    station.now_s = tomorrow_s + 10
    evaluator = evaluator_of(station, dataclasses.replace(SAID, at_s=tomorrow_s + 2))
    evaluator.pass_once()  # both days and the word at once
    assert set(states(evaluator)) == {"home"}
    days = days_of(station.store.engine, model="default", domain="fog")
    assert [(day.key.version, day.events) for day in days] == [("b0", 600), ("b1", 600)]


def test_a_day_that_is_over_stays_where_nothing_came_since(tmp_path: Path) -> None:
    station = make_station(tmp_path)
    tomorrow_s = START + 86_400.0
    station.now_s = tomorrow_s + 10
    said = dataclasses.replace(SAID, at_s=tomorrow_s + 2)
    evaluator_of(station, said).pass_once()
    days = days_of(station.store.engine, model="default", domain="fog")
    assert [(day.key.version, day.events) for day in days] == [("b0", 600), ("b1", 600)]
    with EventWriter(station.spool, "late") as writer:  # read after its day was summed up
        writer.append([event("fog", START + ASKED + 0.5)])
    evaluator_of(station, said).pass_once()
    (window,) = station.store.windows(domain="fog")
    assert window.tick == tomorrow_s + 3


def test_an_alarm_of_the_tick_in_which_it_was_said_ends_when_it_was_raised(
    station: Station,
) -> None:
    station.now_s = START + TICKS
    other = make_station(station.root / "other")
    other.now_s = START + TICKS
    evaluator_of(other).pass_once()
    raised = next(a for a in other.store.alarms() if a.kind == "degraded")
    said = dataclasses.replace(SAID, at_s=raised.raised_s - 0.7)
    evaluator_of(station, said).pass_once()
    alarm = next(a for a in station.store.alarms() if a.kind == "degraded")
    assert alarm.closed_s == alarm.raised_s == raised.raised_s


def test_a_write_that_failed_is_tried_again(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.now_s = START + TICKS
    evaluator = evaluator_of(station, SAID)
    tries = refuse_first(monkeypatch, evaluator, lambda change: change.retired)
    with pytest.raises(ConflictError):
        evaluator.pass_once()
    assert "fog" in {row.key.domain for row in station.store.streams()}
    evaluator.pass_once()
    assert len(tries) == 2
    assert states(evaluator) == {"home": "healthy"}
    assert all(alarm.closed_s is not None for alarm in station.store.alarms())


def test_who_is_not_there_is_not_asked_for_again(station: Station) -> None:
    station.now_s = START + TICKS
    evaluator = evaluator_of(station, dataclasses.replace(SAID, domain="barn"))
    evaluator.pass_once()
    assert set(states(evaluator)) == {"fog", "home"}
    assert station.store.requests_seq() == SAID.seq


def test_its_place_is_free_for_another_name(tmp_path: Path) -> None:
    station = make_station(tmp_path)
    station.plan = dataclasses.replace(PLAN, max_domains=2)
    with EventWriter(station.spool, "new") as writer:
        writer.append([event("barn", START + ASKED + 5.5)])
    station.now_s = START + TICKS
    evaluator = evaluator_of(station, SAID)
    evaluator.pass_once()
    assert set(states(evaluator)) == {"barn", "home"}  # else it were `other`


def test_the_request_is_an_audit_row(station: Station) -> None:
    station.now_s = START + 5
    station.evaluator().pass_once()
    settings = Settings(home=Home(root=str(station.root)))
    said = {"model": "default", "actor": "eve", "reason": "pole"}
    last_event_s = request_retirement(settings, domain="fog", **said)
    assert START + 4 < last_event_s < START + 5
    control = open_control(settings.home.control_database, clock=lambda: START)
    (row,) = control.audit()
    assert (row.action, row.subject, row.actor) == (RETIRED, "fog", "eve")
    (request,) = requests_of(control)(0)
    assert isinstance(request, RetireRequest)
    assert (request.seq, request.model, request.domain) == (1, "default", "fog")
    assert (request.actor, request.reason) == ("eve", "pole")
    with pytest.raises(InputError, match=r"seen no domain 'fogg'. Did you mean 'fog'\?"):
        request_retirement(settings, domain="fogg", **said)
    with pytest.raises(InputError, match="model birds has seen no domain 'fog'"):
        request_retirement(settings, domain="fog", **{**said, "model": "birds"})
