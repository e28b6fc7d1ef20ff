import io
from pathlib import Path

import pytest

from demo.console import Console
from demo.plan import HARMED, SMALL
from demo.steps_field import Field, judge_monitor, onset_of, sort_alarms, stream_accuracy
from demo.summary import Summary
from demo.turn import Turn
from demo.uploads import Answer, Service, Upload
from demo.workspace import Workspace
from redshank.store.monitor import TickWrite, open_monitor
from redshank.store.monitor_rows import Alarm, Evidence, StreamKey


def answer(site: str, at_s: float, *, severity: float = 0.0, correct: bool = True) -> Answer:
    upload = Upload(site, f"{site}-{at_s}", b"", "image/png", "7", severity)
    return Answer(upload, at_s, 200, "7" if correct else "1", "b1")


def alarm(site: str, raised_s: float, kind: str = "degraded") -> Alarm:
    return Alarm(
        alarm_id=f"{site}-{raised_s}-{kind}",
        key=StreamKey("digits", "b1", site),
        kind=kind,  # type: ignore[arg-type]  # a literal
        cause="look",
        reference="relative",
        onset_s=raised_s - 1,
        raised_tick=int(raised_s),
        raised_s=raised_s,
        evidence=Evidence(9.0, 9.0, 5.0),
        images_since_onset=3,
        scenes_since_onset=3,
        sentence="mean confidence fell",
        trigger=None,
    )


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def turn(tmp_path: Path, said: io.StringIO) -> Turn:
    return Turn(Workspace(tmp_path), SMALL, Console(said), Service(1), Summary())


def write_alarms(turn: Turn, *alarms: Alarm) -> None:
    store = open_monitor(turn.home.monitor_database)
    store.commit(TickWrite(1, alarms=alarms))
    store.engine.dispose()


ANSWERS = [answer("gate", t) for t in range(10)] + [
    answer(HARMED, t + 0.5, severity=5.0 if t >= 4 else 0.0, correct=t != 8) for t in range(10)
]


def test_accuracy_of_a_site_before_and_after_it_changed() -> None:
    assert stream_accuracy(ANSWERS) == {
        "gate": {"before_onset": 1.0},
        HARMED: {"before_onset": 1.0, "after_onset": 0.8333},
    }
    assert onset_of(ANSWERS) == 4.5


def test_alarms_are_right_only_on_the_harmed_site_after_its_onset(turn: Turn) -> None:
    write_alarms(
        turn, alarm(HARMED, 3), alarm(HARMED, 7), alarm("gate", 7), alarm("gate", 8, "drift")
    )
    right, wrong = sort_alarms(turn, onset_at=4.5)
    assert [one.raised_s for one in right] == [7]
    assert [(one.key.domain, one.raised_s) for one in wrong] == [(HARMED, 3), ("gate", 7)]


def test_images_until_the_alarm_are_those_sent_since_the_onset(turn: Turn) -> None:
    write_alarms(turn, alarm(HARMED, 7))
    field = Field({"gate": [], HARMED: []}, [])
    found = judge_monitor(turn, field, ANSWERS)
    assert found is not None
    assert turn.summary.alarm_raised
    assert turn.summary.images_until_alarm == 3  # sent at 4.5, 5.5 and 6.5
    assert turn.summary.false_alarms == 0


def test_no_alarm_is_said_and_counted_as_none(turn: Turn, said: io.StringIO) -> None:
    write_alarms(turn, alarm("gate", 7))
    assert judge_monitor(turn, Field({"gate": []}, []), ANSWERS) is None
    assert not turn.summary.alarm_raised
    assert turn.summary.images_until_alarm is None
    assert turn.summary.false_alarms == 1
    assert "was not called degraded" in said.getvalue()
