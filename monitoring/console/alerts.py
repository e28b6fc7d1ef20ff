"""Alertmanager's webhook: a firing alert of a domain becomes a trigger, however often it comes.

Alertmanager delivers at least once, repeats whole groups, and in pairs delivers twice. A trigger's
idempotency key makes one row of all that: that of the evaluator's own alarm when one was in force
when the alert began, else one of model, domain and `startsAt`.
"""

from __future__ import annotations

import dataclasses
import json
from http import HTTPStatus
from typing import Any

from monitoring.triggers import trigger_of
from redshank.errors import InputError
from redshank.files import parse_rfc3339
from redshank.store.monitor_rows import Alarm
from redshank.store.monitor_series import alarms_of
from redshank.trigger import Trigger, make_trigger

from .messages import Answer, Visitor, text
from .sources import Sources

NEEDED = ("model", "domain")
"""Labels without which an alert says nothing about a model in a domain."""


def receive(sources: Sources, visitor: Visitor, body: bytes) -> Answer:
    """Take a webhook of version 4; answers how many triggers were new, known, or passed over."""
    if not visitor.may("alerts"):
        return text(HTTPStatus.UNAUTHORIZED, "this needs a bearer token with the role `alerts`\n")
    try:
        alerts = _alerts(body)
    except (ValueError, TypeError, KeyError, AttributeError, InputError) as error:
        return text(HTTPStatus.BAD_REQUEST, f"this is no Alertmanager webhook: {error}\n")
    counts = {"new": 0, "known": 0, "passed_over": 0}
    for alert in alerts:
        trigger = _trigger(sources, alert)
        if trigger is None:
            counts["passed_over"] += 1
        else:
            counts["new" if sources.control.add_trigger(trigger) else "known"] += 1
    return Answer(HTTPStatus.OK, json.dumps(counts).encode(), "application/json")


def _alerts(body: bytes) -> list[dict[str, Any]]:
    values = json.loads(body)
    if not isinstance(values, dict) or not isinstance(values["alerts"], list):
        raise TypeError("it has no list `alerts`")
    return [
        {
            "status": str(alert["status"]),
            "labels": {str(k): str(v) for k, v in alert["labels"].items()},
            "starts_s": parse_rfc3339(str(alert["startsAt"])),
        }
        for alert in values["alerts"]
    ]


def _trigger(sources: Sources, alert: dict[str, Any]) -> Trigger | None:
    labels, starts_s = alert["labels"], alert["starts_s"]
    if alert["status"] != "firing" or any(not labels.get(name) for name in NEEDED):
        return None
    alarm = _alarm_behind(sources, labels["model"], labels["domain"], starts_s)
    if alarm is not None:  # an alarm that ended since is the same reason still
        return trigger_of(dataclasses.replace(alarm, closed_s=None))
    return make_trigger(
        kind="alarm",
        model=labels["model"],
        domains=(labels["domain"],),
        onset_at_s=starts_s,
        created_at_s=sources.clock(),
        actor="alertmanager",
        evidence={"reason": f"alert {labels.get('alertname', '')}".strip(), "labels": labels},
    )


def _alarm_behind(sources: Sources, model: str, domain: str, starts_s: float) -> Alarm | None:
    """The evaluator's alarm of harm that was in force when an alert began, to within a tick."""
    slack_s = sources.settings.monitoring.tick_s
    for alarm in alarms_of(sources.monitor, model=model, domain=domain):
        ends_s = alarm.closed_s
        if (
            alarm.kind == "degraded"
            and alarm.raised_s - slack_s <= starts_s
            and (ends_s is None or starts_s <= ends_s + slack_s)
        ):
            return alarm
    return None
