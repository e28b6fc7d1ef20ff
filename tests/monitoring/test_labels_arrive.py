"""Labels reach the evaluator: alarms raised, confirmed, refuted; once, and rebuilt by replay."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from monitoring.evaluator import Evaluator
from monitoring.operators import AcceptRequest
from monitoring.replay import differing
from redshank.errors import ConflictError
from redshank.events import Event, EventWriter
from redshank.store.control_labels import LabelsGiven
from redshank.store.monitor import TickWrite
from redshank.store.monitor_labelled import labelled_answers
from redshank.store.monitor_rows import StreamKey, StreamRow
from tests.monitoring.field import PLAN, START, Site, Station, site_events, write_test_bundle

CHANGE, TICKS, PER_TICK = 15, 36, 25
HOME, FOG = StreamKey("default", "b1", "home"), StreamKey("default", "b1", "fog")


@dataclasses.dataclass
class World:
    """A station, its events by domain, and the labels that people gave."""

    station: Station
    events: dict[str, list[Event]]
    given: list[LabelsGiven] = dataclasses.field(default_factory=list)
    withdrawn: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def label(
        self, domain: str, at_tick: float, *, right: int, wrong: int, since: int = 0
    ) -> LabelsGiven:
        """Label the first answers since a tick, some as right and some as wrong."""
        chosen = [e for e in self.events[domain] if e.received_at >= START + since]
        labels = {
            event.image_sha256: f"class {(event.class_index + (n < wrong)) % 4}"
            for n, event in enumerate(chosen[: right + wrong])
        }
        return self.give(labels, at_tick)

    def give(self, labels: dict[str, str], at_tick: float) -> LabelsGiven:
        lot = LabelsGiven(10 + len(self.given), START + at_tick, "ann", labels, is_sample=True)
        self.given.append(lot)
        return lot

    def run(self, until: float, *, requests: Sequence[AcceptRequest] = ()) -> Evaluator:
        """A fresh evaluator that works up to a tick."""
        self.station.now_s = START + until
        evaluator = self.evaluator(requests)
        evaluator.pass_once()
        return evaluator

    def evaluator(self, requests: Sequence[AcceptRequest] = ()) -> Evaluator:
        evaluator = self.station.evaluator()
        evaluator.around = dataclasses.replace(
            evaluator.around,
            labels=lambda seq: [
                g for g in self.given if g.seq > seq and g.at_s <= self.station.now_s
            ],
            requests=lambda seq: [r for r in requests if r.seq > seq],
            withdraw=lambda trigger, *, reason: self.withdrawn.append((trigger.trigger_id, reason)),
        )
        return evaluator

    def is_rebuilt(self) -> bool:
        return differing(self.station.store, self.station.root / "bundles", PLAN) == []


def make_world(root: Path) -> World:
    write_test_bundle(root / "bundles")
    sites = [Site("home", per_tick=PER_TICK), Site("fog", CHANGE, spread=0.25, per_tick=PER_TICK)]
    events = {site.domain: [with_digest(e) for e in site_events(site, TICKS)] for site in sites}
    station = Station(root)
    in_time = sorted((e for rows in events.values() for e in rows), key=lambda e: e.received_at)
    for worker in range(2):
        with EventWriter(station.spool, f"w{worker}") as writer:
            writer.append(in_time[worker::2])
    return World(station, events)


def with_digest(event: Event) -> Event:
    digest = hashlib.sha256(event.event_id.encode()).hexdigest()
    return dataclasses.replace(event, image_sha256=digest)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def row_of(evaluator: Evaluator, domain: str) -> StreamRow:
    return next(row for row in evaluator.answering_rows() if row.key.domain == domain)


def test_labels_raise_an_alarm_where_confidence_says_that_all_is_well(world: World) -> None:
    assert row_of(world.run(20), "home").state == "healthy"
    world.label("home", 20.5, right=21, wrong=19)
    evaluator = world.run(21)
    row = row_of(evaluator, "home")
    assert row.state == "degraded"
    assert row.sentence.startswith(
        "Of 40 labelled images since the onset 21 were right: 52.5%, 95 % interval 36 to 68 %; "
        "the reference promised 9"
    )
    assert row.detail["accuracy"] == {
        "lower": pytest.approx(0.3613, abs=1e-4),
        "upper": pytest.approx(0.6849, abs=1e-4),
        "estimate": 0.525,
        "sentence": row.detail["labels"]["sentence"],
        "source": "labels",
    }
    assert row.detail["labels"]["said"] == "confirm"
    assert row.detail["evidence"]["labelled"]["total_log10"] > 3
    (alarm,) = [a for a in evaluator.open_alarms if a.key == HOME]
    assert (alarm.kind, alarm.cause, alarm.reference) == ("degraded", "labels", "labelled")
    assert alarm.onset_s == world.events["home"][0].received_at
    (trigger,) = [t for t in world.station.triggers if t.domains == ("home",)]
    assert trigger.evidence["cause"] == "labels"
    later = world.run(TICKS)  # ticks do not end what only labels can unsay
    assert row_of(later, "home").state == "degraded"
    assert [a.key for a in later.open_alarms].count(HOME) == 1
    assert world.is_rebuilt()


def test_labels_refute_an_alarm_of_confidence_which_does_not_come_back(world: World) -> None:
    before = world.run(30)
    assert row_of(before, "fog").state == "degraded"
    (alarm,) = [a for a in before.open_alarms if a.kind == "degraded"]
    world.label("fog", 30.5, right=118, wrong=2, since=CHANGE + 2)
    after = world.run(32)
    row = row_of(after, "fog")
    assert row.state == "drift"
    assert "Labels refute harm: of 120 labelled images since the onset 118" in row.sentence
    assert row.detail["labels"]["said"] == "refute"
    stored = {a.alarm_id: a for a in world.station.store.alarms()}
    reason = stored[alarm.alarm_id].closed_reason
    assert reason.startswith("labels refute it: Of 120 labelled")
    (trigger,) = {t.trigger_id for t in world.station.triggers}
    assert world.withdrawn == [(trigger, reason)]
    assert world.station.store.unsent_triggers() == ()
    last = world.run(TICKS)
    assert row_of(last, "fog").state == "drift"
    assert all(a.kind != "degraded" for a in last.open_alarms)
    assert world.is_rebuilt()


def test_labels_confirm_an_alarm_or_leave_it_open(world: World) -> None:
    world.run(30)
    world.label("fog", 30.5, right=8, wrong=1, since=CHANGE + 2)
    row = row_of(world.run(31), "fog")
    assert "Labels leave it open: of 9 labelled images since the onset 8 were" in row.sentence
    assert row.detail.get("accuracy", {}).get("source") != "labels"  # too few to outrank it
    world.label("fog", 31.5, right=15, wrong=25, since=CHANGE + 3)
    row = row_of(world.run(33), "fog")
    assert row.state == "degraded"
    assert "Labels confirm harm: of " in row.sentence
    assert row.detail["accuracy"]["source"] == "labels"
    assert len(world.station.triggers) == 1  # it was an alarm already


def test_corrected_labels_end_their_alarm(world: World) -> None:
    lot = world.label("home", 20.5, right=21, wrong=19)
    world.run(21)
    right = {e.image_sha256: f"class {e.class_index}" for e in world.events["home"]}
    world.give({digest: right[digest] for digest in lot.labels}, 21.5)
    evaluator = world.run(23)
    assert row_of(evaluator, "home").state == "healthy"
    assert (
        "Of 40 labelled images in the last budget period 40 were right: 100.0%"
        in row_of(evaluator, "home").sentence
    )
    (alarm,) = [a for a in world.station.store.alarms() if a.key == HOME]
    assert alarm.closed_reason == "labels given since speak for the model"
    assert world.is_rebuilt()


def test_it_happens_once_however_often_it_is_read_and_whenever_it_was_stopped(
    tmp_path: Path,
) -> None:
    worlds = [make_world(tmp_path / name) for name in ("steps", "whole")]
    for world in worlds:
        world.label("home", 20.5, right=21, wrong=19)
        world.label("home", 20.7, right=30, wrong=10)
        world.label("fog", 26.5, right=60, wrong=0, since=CHANGE)
    steps, whole = worlds
    for tick in (18, 20.6, 21, 22, 27, 33):
        steps.run(tick)
    steps.run(TICKS)
    whole.run(TICKS)
    for mine, theirs in zip(
        steps.station.store.streams(), whole.station.store.streams(), strict=True
    ):
        assert mine == theirs
    first, second = (
        [dataclasses.replace(a, trigger=None) for a in w.station.store.alarms()] for w in worlds
    )  # a trigger has an id of its own
    assert first == second
    assert labelled_answers(steps.station.store.engine) == labelled_answers(
        whole.station.store.engine
    )
    assert steps.is_rebuilt()
    assert whole.is_rebuilt()


def test_a_write_that_failed_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run(20)
    world.label("home", 20.5, right=21, wrong=19)
    world.station.now_s = START + 22
    evaluator = world.evaluator()
    commit, tries = evaluator.store.commit, [0]

    def refused_once(change: TickWrite) -> None:
        tries[0] += bool(change.labelled)
        if change.labelled and tries[0] == 1:
            raise ConflictError("monitor.db was locked")
        commit(change)

    monkeypatch.setattr(evaluator.store, "commit", refused_once)
    with pytest.raises(ConflictError):
        evaluator.pass_once()
    evaluator.pass_once()
    assert tries == [2]
    assert row_of(evaluator, "home").state == "degraded"
    assert len([a for a in world.station.store.alarms() if a.key == HOME]) == 1
    assert world.is_rebuilt()


def test_labels_that_nobody_answered_or_can_read_stop_nothing(world: World) -> None:
    world.give({"f" * 64: "class 1"}, 20.5)
    evaluator = world.run(22)
    assert "labels" not in row_of(evaluator, "home").detail
    assert world.station.store.labels_seq() == 10  # and is not asked again

    def locked(_: int) -> Iterable[LabelsGiven]:
        raise ConflictError("control.db was locked")

    labels: Callable[[int], Iterable[LabelsGiven]] = locked
    evaluator.around = dataclasses.replace(evaluator.around, labels=labels)
    assert "control.db was locked" in evaluator.pass_once().problems[0]


def test_a_silent_site_is_judged_by_labels_too(world: World) -> None:
    world.run(TICKS + 1)
    world.label("home", TICKS + 3.5, right=21, wrong=19)
    assert row_of(world.run(TICKS + 5), "home").state == "degraded"


def test_accepting_sets_labels_from_before_aside(world: World) -> None:
    world.label("home", 20.5, right=21, wrong=19)
    world.run(21)
    accepted = AcceptRequest(11, START + 22.5, HOME, "eve", "the labels are of another task")
    evaluator = world.run(24, requests=[accepted])
    assert row_of(evaluator, "home").state == "learning"
    assert "labels" not in row_of(evaluator, "home").detail
    world.given.append(dataclasses.replace(world.given[0], seq=12, at_s=START + 25.5))
    assert row_of(world.run(27, requests=[accepted]), "home").state == "degraded"
    assert world.is_rebuilt()


def test_a_version_that_answers_nothing_raises_no_alarm(world: World) -> None:
    world.station.answering = frozenset({"b2"})
    world.label("home", 20.5, right=21, wrong=19)
    evaluator = world.run(22)
    assert evaluator.open_alarms == ()
    stored = {row.key: row for row in world.station.store.streams()}
    assert stored[HOME].state == "degraded"
    assert "labelled 10^" in stored[HOME].sentence


def test_the_oldest_labels_go_where_there_are_very_many(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.label_intake.MOST_ANSWERS", 30)
    lots = [world.label("home", 20.5 + n, right=10, wrong=1, since=4 * n) for n in range(4)]
    world.run(26)
    kept = labelled_answers(world.station.store.engine)[HOME]
    assert {answer.seq for answer in kept} == {lot.seq for lot in lots[1:]}
    assert len(kept) == 33
    assert world.is_rebuilt()


def test_a_forgotten_stream_takes_its_labelled_answers_along(world: World) -> None:
    world.label("home", 20.5, right=3, wrong=1)
    world.run(22)
    assert set(labelled_answers(world.station.store.engine)) == {HOME}
    world.station.store.commit(TickWrite(tick=PLAN.period_ticks, gone=(HOME,)))
    assert labelled_answers(world.station.store.engine) == {}
