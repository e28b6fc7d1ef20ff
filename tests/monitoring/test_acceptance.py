"""An operator accepts a change as the new normal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from monitoring.evaluator import Evaluator
from monitoring.operators import ACCEPTED, AcceptRequest, request_acceptance, requests_of
from monitoring.replay import differing
from redshank.errors import ConflictError, InputError
from redshank.settings import Home, Settings
from redshank.store.control import open_control
from redshank.store.monitor_rows import StreamKey, StreamRow
from tests.monitoring.field import (
    PLAN,
    START,
    Site,
    Station,
    refuse_first,
    write_spool,
    write_test_bundle,
)

KEY = StreamKey("default", "b1", "fog")
CHANGE, ASKED, TICKS, PER_TICK = 12, 24, 44, 25
SAID = AcceptRequest(7, START + ASKED + 0.5, KEY, "eve", "winter has come")


def requests(*said: AcceptRequest) -> Callable[[int], Iterable[AcceptRequest]]:
    return lambda seq: [request for request in said if request.seq > seq]


def evaluator_of(station: Station, *said: AcceptRequest) -> Evaluator:
    evaluator = station.evaluator()
    evaluator.around = dataclasses.replace(evaluator.around, requests=requests(*said))
    return evaluator


@pytest.fixture
def station(tmp_path: Path) -> Station:
    write_test_bundle(tmp_path / "bundles", held_out=True)
    sites = [Site("home", per_tick=PER_TICK), Site("fog", CHANGE, spread=0.25, per_tick=PER_TICK)]
    write_spool(tmp_path / "spool", sites, TICKS)
    return Station(tmp_path)


def row_of(evaluator: Evaluator, domain: str = "fog") -> StreamRow:
    return next(row for row in evaluator.answering_rows() if row.key.domain == domain)


def test_the_alarm_ends_the_domain_learns_anew_and_is_healthy_as_it_is(station: Station) -> None:
    station.now_s = START + ASKED
    evaluator = evaluator_of(station, SAID)
    evaluator.pass_once()
    assert row_of(evaluator).state == "degraded"  # the tick in which it was said is still open
    station.now_s = START + ASKED + 1
    evaluator.pass_once()
    row = row_of(evaluator)
    assert row.state == "learning"
    assert row.sentence == (
        "Learning anew, as an operator accepted the change: 0 of 150 burn-in scenes."
    )
    assert evaluator.open_alarms == ()
    reasons = {a.closed_reason for a in station.store.alarms() if a.key == KEY}
    assert "accepted as normal by eve: winter has come" in reasons
    station.now_s = START + TICKS
    evaluator.pass_once()
    assert row_of(evaluator).state == "healthy"
    assert row_of(evaluator).detail["reference_mean_confidence"]["relative"] < 0.85
    assert list(row_of(evaluator).detail["evidence"]) == [
        "relative"
    ]  # the absolute one is overruled
    assert list(row_of(evaluator, "home").detail["evidence"]) == ["absolute", "relative"]
    assert [tick for tick, _ in station.store.references(KEY)][-1] > START + ASKED


def test_it_happens_once_however_often_it_is_read_and_whenever_it_was_stopped(
    station: Station, tmp_path: Path
) -> None:
    other = Station(tmp_path / "other", now_s=START + TICKS)
    write_test_bundle(other.root / "bundles", held_out=True)
    sites = [Site("home", per_tick=PER_TICK), Site("fog", CHANGE, spread=0.25, per_tick=PER_TICK)]
    write_spool(other.spool, sites, TICKS)
    evaluator_of(other, SAID).pass_once()
    for tick in (10, ASKED + 1, ASKED + 1.5, ASKED + 9, TICKS):
        station.now_s = START + tick
        evaluator_of(station, *([SAID] if tick > ASKED else [])).pass_once()
    (acceptance,) = station.store.acceptances()
    assert (acceptance.seq, acceptance.tick) == (7, START + ASKED)
    assert other.store.acceptances() == station.store.acceptances()
    for mine, theirs in zip(other.store.streams(), station.store.streams(), strict=True):
        assert mine == theirs
    assert differing(station.store, station.root / "bundles", PLAN) == []


def test_a_write_that_failed_is_tried_again(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.now_s = START + TICKS
    evaluator = evaluator_of(station, SAID)
    tries = refuse_first(monkeypatch, evaluator, lambda change: change.acceptances)
    with pytest.raises(ConflictError):
        evaluator.pass_once()
    evaluator.pass_once()
    assert len(tries) == 2
    assert len(station.store.acceptances()) == 1
    assert differing(station.store, station.root / "bundles", PLAN) == []


def test_a_stream_that_is_gone_and_a_trail_that_is_locked_stop_nothing(station: Station) -> None:
    station.now_s = START + TICKS
    gone = dataclasses.replace(SAID, key=KEY._replace(version="b0"))
    evaluator = evaluator_of(station, gone)
    evaluator.pass_once()
    assert row_of(evaluator).state == "degraded"
    assert station.store.acceptances() == ()
    assert station.store.requests_seq() == gone.seq  # and is not asked again

    def locked(_: int) -> Iterable[AcceptRequest]:
        raise ConflictError("control.db was locked")

    evaluator.around = dataclasses.replace(evaluator.around, requests=locked)
    assert "control.db was locked" in evaluator.pass_once().problems[0]


def test_the_request_is_an_audit_row_for_the_version_that_is_watched(station: Station) -> None:
    station.now_s = START + 5
    station.evaluator().pass_once()
    settings = Settings(home=Home(root=str(station.root)))
    said = {"model": "default", "actor": "eve", "reason": "winter"}
    assert request_acceptance(settings, domain="fog", **said) == KEY
    control = open_control(settings.home.control_database, clock=lambda: START)
    (row,) = control.audit()
    assert (row.action, row.subject, row.actor) == (ACCEPTED, "fog", "eve")
    waiting = requests_of(control)
    (request,) = waiting(0)
    assert isinstance(request, AcceptRequest)
    assert (request.seq, request.key, request.reason) == (1, KEY, "winter")
    control.record(actor="ann", action="labels", subject="x", details={})
    request_acceptance(settings, domain="fog", **said)
    assert [one.seq for one in waiting(0)] == [1, 3]  # until the evaluator has dealt with it
    assert [one.seq for one in waiting(1)] == [3]
    assert waiting(3) == []
    assert requests_of(control)(3) == []
    with pytest.raises(InputError, match=r"seen no domain 'fogg'. Did you mean 'fog'\?"):
        request_acceptance(settings, domain="fogg", **said)
    release = station.root / "models" / "default" / "release.json"
    release.parent.mkdir(parents=True)
    release.write_text("{")  # which version is live nobody knows
    with pytest.raises(InputError, match=r"release\.json is not JSON"):
        request_acceptance(settings, domain="fog", **said)
