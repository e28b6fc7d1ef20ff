"""What labels say of a stream, in words and numbers, and the alarms that they raise and end."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from redshank.files import rfc3339
from redshank.store.monitor_rows import Alarm, Evidence, StreamKey

from .labelled import Labelled, Seen
from .stream import Stream
from .triggers import REFUTED

LEAST_FOR_ACCURACY = 20
"""Labelled scenes from which their interval replaces every estimate without labels."""
FADED = 1.0
"""log10 below the threshold at which an alarm of labels ends."""
Said = Literal["confirm", "refute", "open", "untested"]


def judge_labels(
    stream: Stream, open_alarms: Sequence[Alarm], before: Evidence | None, *, tick: int, at_s: float
) -> list[Alarm]:
    """Alarms that new labels raise or end (changed rows only).

    Args:
        stream: after it took the labels.
        open_alarms: its alarms that have not ended.
        before: the labelled evidence without the new labels.
        tick: newest tick that was evaluated.
        at_s: when the labels were given.
    """
    labelled, found = stream.labelled, stream.labelled.evidence()
    changed = []
    for alarm in open_alarms:
        if alarm.reference == "labelled":
            if found is None or found.total < found.threshold - FADED:
                changed.append(_closed(alarm, at_s, "labels given since speak for the model"))
        elif alarm.kind == "degraded" and is_refuted(stream, alarm.onset_s):
            seen = labelled.since(alarm.onset_s)
            ended = _closed(alarm, at_s, f"{REFUTED}: {counted(labelled, seen)}")
            changed.append(replace(ended, trigger_sent=False))  # its trigger is taken back
            if all(other.kind != "drift" for other in open_alarms):
                changed.append(_as_drift(alarm, tick=tick, at_s=at_s))
    is_open = any(alarm.kind == "degraded" for alarm in open_alarms)
    if found is None or found.total < found.threshold or is_open or not stream.may_alarm:
        return changed
    if before is not None and found.total <= before.total:
        return changed  # these labels speak for the model: it is older ones that do not
    return [*changed, _raised(stream, found, tick=tick, at_s=at_s)]


def is_refuted(stream: Stream, onset_s: float) -> bool:
    """Whether labels rule out that the change since an onset does harm."""
    return stream.labelled.refuted_since(onset_s, now_s=stream.last_event_s)


def labelled_detail(stream: Stream, open_alarms: Sequence[Alarm]) -> dict[str, Any]:
    """Numbers and one sentence of the labels, and the accuracy where they are enough for it.

    Counted since the onset of the open alarm, else over the last budget period.
    """
    labelled, onset_s = stream.labelled, _onset_s(open_alarms)
    if not labelled.answers:
        return {}
    period_s = stream.plan.tick_s * stream.plan.period_ticks
    seen = labelled.since(stream.last_event_s - period_s if onset_s is None else onset_s)
    if not seen.frames:
        return {}
    evidence, promise = labelled.evidence(), labelled.promise
    lower, upper = seen.interval
    span = "in the last budget period" if onset_s is None else "since the onset"
    told: dict[str, Any] = {
        "images": seen.frames,
        "scenes": round(seen.scenes, 3),
        "right": round(seen.right, 3),
        "accuracy": seen.accuracy,
        "lower": lower,
        "upper": upper,
        "promised": None if promise is None else promise.accuracy,
        "held_to": None if promise is None else promise.bound,
        "since": None if onset_s is None else rfc3339(onset_s),
        "said": said(stream, seen, onset_s),
        "sentence": counted(labelled, seen, span) + ".",
    }
    found: dict[str, Any] = {"labels": told}
    if evidence is not None:
        told["evidence_log10"] = round(evidence.total, 3)
        told["threshold_log10"] = round(evidence.threshold, 3)
    return found | _accuracy(seen, told["sentence"])


def said(stream: Stream, seen: Seen, onset_s: float | None) -> Said:
    """Whether labels confirm harm, refute it, or leave it open."""
    labelled = stream.labelled
    if labelled.promise is None:
        return "untested"
    if labelled.confirms(seen):
        return "confirm"
    refuted = labelled.refutes(seen) if onset_s is None else is_refuted(stream, onset_s)
    return "refute" if refuted else "open"


def words(detail: dict[str, Any]) -> str:
    """What to add to the sentence of a state; empty without labels."""
    told = detail.get("labels")
    if told is None:
        return ""
    if told["since"] is None:
        return f" {told['sentence']}"
    verdict = {
        "confirm": " Labels confirm harm: ",
        "refute": " Labels refute harm: ",
        "open": " Labels leave it open: ",
        "untested": " Labels: ",
    }
    sentence = str(told["sentence"])
    return verdict[told["said"]] + sentence[0].lower() + sentence[1:]


def counted(labelled: Labelled, seen: Seen, span: str = "since the onset") -> str:
    """Right of labelled images, the interval, and what was promised."""
    lower, upper = seen.interval
    images = f"{seen.frames} labelled images {span}"
    if math.isclose(seen.scenes, seen.frames):
        share = f"Of {images} {seen.right:.0f} were right: {seen.accuracy:.1%}"
    else:
        share = f"Of {images} in {seen.scenes:.0f} scenes {seen.accuracy:.1%} were right"
    text = f"{share}, 95 % interval {100 * lower:.0f} to {100 * upper:.0f} %"
    if (promise := labelled.promise) is None:
        return f"{text}; the bundle has no labelled images to compare with"
    return f"{text}; the reference promised {promise.accuracy:.0%}"


def _accuracy(seen: Seen, sentence: str) -> dict[str, Any]:
    """The accuracy of the domain, when there are enough labels: it outranks every estimate."""
    if seen.scenes < LEAST_FOR_ACCURACY:
        return {}
    lower, upper = seen.interval
    interval = {"lower": lower, "upper": upper, "estimate": seen.accuracy}
    return {"accuracy": {**interval, "sentence": sentence, "source": "labels"}}


def _onset_s(open_alarms: Sequence[Alarm]) -> float | None:
    """Onset of the alarm that is shown: harm before mere change."""
    ranked = sorted(open_alarms, key=lambda alarm: alarm.kind != "degraded")
    return ranked[0].onset_s if ranked else None


def _closed(alarm: Alarm, at_s: float, reason: str) -> Alarm:
    return replace(alarm, closed_s=at_s, closed_reason=reason)


def _as_drift(alarm: Alarm, *, tick: int, at_s: float) -> Alarm:
    """What is left of an alarm whose harm was refuted: something did change."""
    return replace(
        alarm,
        alarm_id=_alarm_id(alarm.key, "drift", tick, at_s),
        kind="drift",
        raised_tick=tick,
        raised_s=at_s,
        trigger=None,
        trigger_sent=False,
    )


def _alarm_id(key: StreamKey, what: str, tick: int, at_s: float) -> str:
    about = "\n".join([*key, what, repr(at_s)])
    return f"{tick}-{hashlib.sha256(about.encode()).hexdigest()[:8]}"


def _raised(stream: Stream, evidence: Evidence, *, tick: int, at_s: float) -> Alarm:
    labelled = stream.labelled
    onset_s = labelled.onset_s()
    seen = labelled.since(onset_s)
    proof = f"evidence 10^{evidence.total:.1f} against a threshold of 10^{evidence.threshold:.1f}"
    return Alarm(
        alarm_id=_alarm_id(stream.key, "labelled", tick, at_s),
        key=stream.key,
        kind="degraded",
        cause="labels",
        reference="labelled",
        onset_s=onset_s,
        raised_tick=tick,
        raised_s=at_s,
        evidence=evidence,
        images_since_onset=seen.frames,
        scenes_since_onset=round(seen.scenes),
        sentence=f"{counted(labelled, seen)}; {proof}.",
        trigger=None,
    )
