"""Evidence into alarms: what is raised, why, and when it ends.

`drift`: something changed (all scores). `degraded`: mean confidence fell, and other classes do not
explain it, and labels do not refute it. Only `degraded` pages and triggers. An alarm ends when its
evidence has faded below a tenth of the threshold, or when its model version is replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from redshank.cells import NUM_CONFIDENCE_BINS, FloatArray, mean_confidence
from redshank.files import rfc3339
from redshank.store.monitor_rows import Alarm, Evidence, Window

from .class_mix import Split, split_drop
from .counts import add_cells
from .labelled_verdict import is_refuted
from .quality import Health
from .stream import Detection, Stream

FADED = 1.0
"""log10 below the threshold at which an alarm ends."""
Kind = Literal["drift", "degraded"]
History = Callable[[int], Sequence[Window]]
"""Windows of the stream from a tick on, up to the present one."""


@dataclass(frozen=True)
class SinceOnset:
    """What the stream showed since the estimated onset."""

    onset_tick: int
    images: int
    scenes: int
    cells_CZ: FloatArray
    confidence_before: float
    confidence_since: float
    split: Split | None
    complaint: str
    """What is wrong with the camera since then; empty when nothing is."""


def judge(
    stream: Stream, window: Window, open_alarms: Sequence[Alarm], history: History
) -> list[Alarm]:
    """Alarms that this tick raises or ends (changed rows only).

    Args:
        stream: after it took the tick.
        window: the tick's window.
        open_alarms: alarms of this stream that are not closed.
        history: reads the stored windows.
    """
    changed = [_closed(a, window) for a in open_alarms if _faded(a, stream)]
    if not stream.may_alarm:
        return changed
    kinds = {alarm.kind for alarm in open_alarms}
    if "degraded" in kinds:
        return changed
    suspect = _strongest(stream, "degraded")
    if suspect is not None:
        since = since_onset(stream, suspect, history, "confidence")
        if since.complaint:
            return changed
        is_harmless = is_refuted(stream, since.onset_tick * stream.plan.tick_s)
        if not is_harmless and not _explained_by_mix(stream, since):
            return [*changed, _raise(stream, window, suspect, since, "degraded")]
    suspect = _strongest(stream, "drift")
    if suspect is not None and "drift" not in kinds:
        group = _leading_group(suspect)
        since = since_onset(stream, suspect, history, group)
        if not since.complaint:
            changed.append(_raise(stream, window, suspect, since, "drift", group))
    return changed


def since_onset(stream: Stream, detection: Detection, history: History, group: str) -> SinceOnset:
    """Sum up the windows since the estimated onset and split the drop of confidence."""
    onset_tick = int(detection.detector.onset(group))
    windows = history(onset_tick)
    cells_CZ: FloatArray = np.zeros((0, NUM_CONFIDENCE_BINS))
    health = Health()
    for window in windows:
        cells_CZ = add_cells(cells_CZ, window.cells_CZ)
        health.add(window.events - window.errors, window.defects, keep=1.0)
    reference_CZ = reference_cells(stream, detection)
    classes = len(stream.baseline.classes)
    fits = len(cells_CZ) <= classes and len(reference_CZ) <= classes
    padded = add_cells(np.zeros((classes, NUM_CONFIDENCE_BINS)), cells_CZ)
    return SinceOnset(
        onset_tick=onset_tick,
        images=sum(window.events - window.errors for window in windows),
        scenes=sum(window.scenes for window in windows),
        cells_CZ=cells_CZ,
        confidence_before=mean_confidence(reference_CZ),
        confidence_since=mean_confidence(cells_CZ),
        split=split_drop(stream.baseline.labelled_CCZ, reference_CZ, padded) if fits else None,
        complaint=health.complaint,
    )


def reference_cells(stream: Stream, detection: Detection) -> FloatArray:
    """The cells that a detector compares with."""
    if detection.reference == "absolute":
        return stream.baseline.held_out_pooled
    return stream.burn_in.cells_CZ


def close(alarm: Alarm, *, at_s: float, reason: str) -> Alarm:
    """The alarm, ended."""
    return replace(alarm, closed_s=at_s, closed_reason=reason)


def _measure(kind: Kind, evidence: Evidence) -> float:
    return evidence.confidence if kind == "degraded" else evidence.total


def _strongest(stream: Stream, kind: Kind) -> Detection | None:
    """The detector that is furthest over its threshold, None when none is."""
    over = [
        (_measure(kind, evidence) - evidence.threshold, i)
        for i, d in enumerate(stream.detections)
        if _measure(kind, evidence := d.evidence()) >= evidence.threshold
    ]
    return stream.detections[max(over)[1]] if over else None


def _faded(alarm: Alarm, stream: Stream) -> bool:
    """Whether its evidence is gone; what labels said only labels unsay."""
    found = [d.evidence() for d in stream.detections]
    return alarm.reference != "labelled" and all(
        _measure(alarm.kind, e) < e.threshold - FADED for e in found
    )


def _closed(alarm: Alarm, window: Window) -> Alarm:
    return close(alarm, at_s=window.at_s, reason="the evidence has faded")


def _leading_group(detection: Detection) -> str:
    groups = detection.detector.null.groups
    return max(groups, key=lambda group: float(detection.detector.evidence_of(group)))


def _explained_by_mix(stream: Stream, since: SinceOnset) -> bool:
    """Whether other classes, not worse images, explain the drop beyond the harmless margin."""
    split = since.split
    return split is not None and split.mix > 0 and not split.harmful(stream.plan.margin)


def _raise(
    stream: Stream,
    window: Window,
    detection: Detection,
    since: SinceOnset,
    kind: Kind,
    group: str = "confidence",
) -> Alarm:
    cause = group
    if group == "confidence":
        cause = since.split.cause if since.split is not None else "look"
    elif group == "shape" and since.split is not None and since.split.cause == "mix":
        cause = "mix"
    digest = hashlib.sha256("\n".join([*stream.key, kind]).encode()).hexdigest()[:8]
    onset_s = since.onset_tick * stream.plan.tick_s
    return Alarm(
        alarm_id=f"{window.tick}-{digest}",
        key=stream.key,
        kind=kind,
        cause=cause,
        reference=detection.reference,
        onset_s=onset_s,
        raised_tick=window.tick,
        raised_s=window.at_s,
        evidence=detection.evidence(),
        images_since_onset=since.images,
        scenes_since_onset=since.scenes,
        sentence=_sentence(detection, since, kind, cause, onset_s),
        trigger=None,
    )


def _sentence(
    detection: Detection, since: SinceOnset, kind: Kind, cause: str, onset_s: float
) -> str:
    against = {"absolute": "held-out source domains", "relative": "its own burn-in"}
    span = f"{since.images} images in {since.scenes} scenes since {rfc3339(onset_s)}"
    evidence = detection.evidence()
    proof = (
        f"evidence 10^{_measure(kind, evidence):.1f} against a threshold of "
        f"10^{evidence.threshold:.1f}"
    )
    if cause == "novelty":
        what = f"Images look unlike {against[detection.reference]}, confidence says no harm"
    elif cause == "shape":
        what = f"The spread of confidence changed against {against[detection.reference]}"
    elif cause == "confidence_up":
        what = (
            f"Mean confidence rose from {since.confidence_before:.1%} "
            f"({against[detection.reference]}) to {since.confidence_since:.1%}, which is no proof "
            "that the answers got better"
        )
    else:
        what = (
            f"Mean confidence went from {since.confidence_before:.1%} "
            f"({against[detection.reference]}) to {since.confidence_since:.1%}"
        )
        if since.split is not None:
            what += (
                f", {_points(since.split.look)} points by the look of the images and "
                f"{_points(since.split.mix)} by the mix of classes"
            )
    return f"{what}: {span}; {proof}."


def _points(ratio: float) -> str:
    """Percentage points with one decimal; what rounds to zero is no negative zero."""
    return f"{round(100 * ratio, 1) + 0.0:.1f}"
