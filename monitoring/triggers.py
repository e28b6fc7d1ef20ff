"""An alarm as a reason to retrain."""

from __future__ import annotations

from redshank.store.monitor_rows import Alarm
from redshank.trigger import Trigger, make_trigger


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
