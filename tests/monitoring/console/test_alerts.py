from __future__ import annotations

import dataclasses
import json
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from monitoring.board import Board
from monitoring.console.messages import Answer, Request
from monitoring.console.site import Console
from monitoring.console.sources import Sources, sources_of
from redshank.files import rfc3339
from redshank.settings import Home, MonitoringSettings, Settings
from redshank.store.monitor import TickWrite, open_monitor
from redshank.store.monitor_rows import Alarm, Evidence, StreamKey
from tests.monitoring.console.scene import HOOK, TOKEN, write_tokens

NOW = 2_000_000.0
KEY = StreamKey("default", "b1", "fog")
ALARM = Alarm(
    alarm_id="a1",
    key=KEY,
    kind="degraded",
    cause="look",
    reference="relative",
    onset_s=NOW - 900,
    raised_tick=6666,
    raised_s=NOW - 300,
    evidence=Evidence(6.0, 6.0, 4.2),
    images_since_onset=20,
    scenes_since_onset=20,
    sentence="Mean confidence fell.",
    trigger=None,
)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    monitoring = MonitoringSettings(tokens_file=write_tokens(tmp_path))
    settings = Settings(home=Home(root=str(tmp_path)), monitoring=monitoring)
    store = open_monitor(settings.home.monitor_database)
    return sources_of(settings, Board(monitoring, lambda: NOW), store)


def alert(domain: str = "fog", starts_s: float = NOW - 200, **changes: Any) -> dict[str, Any]:
    labels = {"alertname": "DomainDegraded", "model": "default", "domain": domain}
    starts = rfc3339(starts_s).replace("Z", "123456Z")  # Alertmanager tells nanoseconds
    return {"status": "firing", "labels": labels, "startsAt": starts, **changes}


def send(sources: Sources, *alerts: dict[str, Any], token: str = HOOK) -> Answer:
    body = json.dumps({"version": "4", "status": "firing", "alerts": alerts}).encode()
    headers = {"authorization": f"Bearer {token}"}
    return Console(sources).answer(Request("POST", "/alerts", headers, body))


def counts(answer: Answer) -> dict[str, int]:
    assert answer.status == HTTPStatus.OK, answer.body
    values: dict[str, int] = json.loads(answer.body)
    return values


def test_an_alert_becomes_one_trigger_however_often_it_comes(sources: Sources) -> None:
    assert counts(send(sources, alert())) == {"new": 1, "known": 0, "passed_over": 0}
    repeated = send(sources, alert(), alert("barn"))  # a group is sent again when it grows
    assert counts(repeated) == {"new": 1, "known": 1, "passed_over": 0}
    _, trigger = sorted(sources.control.triggers(), key=lambda trigger: trigger.domains)
    assert (trigger.kind, trigger.actor, trigger.domains) == ("alarm", "alertmanager", ("fog",))
    assert trigger.onset_at == rfc3339(NOW - 200)
    assert trigger.evidence["reason"] == "alert DomainDegraded"
    later = send(sources, alert(starts_s=NOW - 100))
    assert counts(later)["new"] == 1


@pytest.mark.parametrize("closed_s", [None, NOW - 100])
def test_the_evaluators_own_alarm_and_its_alert_are_one_reason(
    sources: Sources, closed_s: float | None
) -> None:
    alarm = dataclasses.replace(ALARM, closed_s=closed_s)
    sources.monitor.commit(TickWrite(tick=6666, alarms=(alarm,)))
    assert counts(send(sources, alert()))["new"] == 1
    assert counts(send(sources, alert(starts_s=NOW - 150)))["known"] == 1  # after a restart
    trigger = sources.control.triggers()[0]
    assert (trigger.actor, trigger.onset_at) == ("evaluator", rfc3339(ALARM.onset_s))


@pytest.mark.parametrize(
    "changes",
    [{"kind": "drift"}, {"raised_s": NOW + 900}, {"closed_s": NOW - 9000, "raised_s": NOW - 9900}],
)
def test_an_alarm_that_was_not_in_force_is_another_reason(
    sources: Sources, changes: dict[str, Any]
) -> None:
    sources.monitor.commit(TickWrite(tick=6666, alarms=(dataclasses.replace(ALARM, **changes),)))
    assert counts(send(sources, alert()))["new"] == 1
    assert sources.control.triggers()[0].actor == "alertmanager"


def test_ended_alerts_and_those_of_no_domain_are_passed_over(sources: Sources) -> None:
    ended = alert(status="resolved")
    general = alert(labels={"alertname": "MonitorStalled"})
    assert counts(send(sources, ended, general)) == {"new": 0, "known": 0, "passed_over": 2}
    assert sources.control.triggers() == ()


@pytest.mark.parametrize("token", [TOKEN, "", "guess-guess-guess-guess"])
def test_only_the_role_alerts_may_send(sources: Sources, token: str) -> None:
    assert send(sources, alert(), token=token).status == HTTPStatus.UNAUTHORIZED
    assert sources.control.triggers() == ()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xff", b"[]", b"{}", b'{"alerts": 3}', b'{"alerts": [3]}', b'{"alerts": [{}]}',
        b'{"alerts": [{"status": "firing", "labels": [], "startsAt": "2026-11-22T09:00:00Z"}]}',
        b'{"alerts": [{"status": "firing", "labels": {}, "startsAt": "yesterday"}]}',
    ],
)  # fmt: skip
def test_what_is_no_webhook_is_refused(sources: Sources, body: bytes) -> None:
    headers = {"authorization": f"Bearer {HOOK}"}
    answer = Console(sources).answer(Request("POST", "/alerts", headers, body))
    assert answer.status == HTTPStatus.BAD_REQUEST
