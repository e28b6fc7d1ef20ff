"""An alarm as a reason to retrain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from redshank.records import from_dict
from redshank.store.monitor_rows import Alarm
from redshank.trigger import Trigger, make_trigger

REFUTED = "labels refute it"
"""Begin of the reason with which labels end an alarm."""


class Withdraw(Protocol):
    """Takes a trigger back."""

    def __call__(self, trigger: Trigger, *, reason: str) -> None:
        """Tell why the trigger holds no longer."""


def deliver(alarm: Alarm, send: Callable[[Trigger], object], withdraw: Withdraw | None) -> None:
    """Bring an alarm's trigger to the control database, and what labels said of it since."""
    trigger = from_dict(Trigger, alarm.trigger, source=alarm.alarm_id)
    send(trigger)
    if withdraw is not None and alarm.closed_reason.startswith(REFUTED):
        withdraw(trigger, reason=alarm.closed_reason)


def trigger_of(alarm: Alarm) -> Trigger | None:
    """The trigger of a newly raised alarm; None for one that ended or that only informs."""
    if alarm.kind != "degraded" or alarm.closed_s is not None:
        return None
    return make_trigger(
        kind="alarm",
        model=alarm.key.model,
        domains=(alarm.key.domain,),
        onset_at_s=alarm.onset_s,
        created_at_s=alarm.raised_s,
        actor="evaluator",
        evidence={
            "reason": alarm.sentence,
            "alarm_id": alarm.alarm_id,
            "version": alarm.key.version,
            "cause": alarm.cause,
            "reference": alarm.reference,
            "evidence_log10": alarm.evidence.confidence,
            "threshold_log10": alarm.evidence.threshold,
            "images_since_onset": alarm.images_since_onset,
            "scenes_since_onset": alarm.scenes_since_onset,
        },
    )
