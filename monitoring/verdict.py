"""The state of a stream in one word, one sentence, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redshank.cells import mean_confidence
from redshank.files import rfc3339
from redshank.store.monitor_rows import Alarm, Evidence, State, StreamKey, StreamRow

from .accuracy import LEAST_SCENES, MOSTLY_NEW, estimate
from .alarms import reference_cells
from .class_mix import split_drop
from .labelled_verdict import LEAST_FOR_ACCURACY, labelled_detail, words
from .nearest import Known
from .sample import Sample
from .stream import Detection, Stream


@dataclass(frozen=True)
class Verdict:
    """State, sentence, numbers."""

    state: State
    sentence: str
    detail: dict[str, Any]


def decide(
    stream: Stream,
    open_alarms: Sequence[Alarm],
    *,
    answers: bool = True,
    known: Callable[[StreamKey], Known] = lambda _: Known(),
    since_onset: Sample | None = None,
) -> Verdict:
    """What to tell people after a tick.

    Args:
        stream: after it took the tick.
        open_alarms: its alarms that have not ended.
        answers: whether its version answers traffic; one that does not (a shadow, or a replaced
            version) raises no alarms, so its state is read off the evidence.
        known: domains that a new one may resemble.
        since_onset: what it showed since the onset of its alarm.
    """
    detail = _detail(stream) | _accuracy(stream, since_onset)
    detail |= labelled_detail(stream, open_alarms)  # enough labels outrank the estimate
    if not answers:
        return _looking_on(stream, detail)
    detail |= _drop(stream) if open_alarms else {}
    by_kind = {alarm.kind: alarm for alarm in open_alarms}
    if complaint := stream.health.complaint:
        more = " An alarm from before is open." if open_alarms else ""
        sentence = f"{complaint} Nothing is said about the model, and nothing is trained on it."
        return Verdict("unknown", sentence + more, detail)
    if (alarm := by_kind.get("degraded")) is not None:
        more = "" if alarm.reference == "labelled" else words(detail)
        return Verdict("degraded", alarm.sentence + more, {**detail, **_about(alarm)})
    if (alarm := by_kind.get("drift")) is not None:
        detail |= _about(alarm)
        share = detail["novelty_share"]
        told = detail.get("labels", {}).get("scenes", 0) >= LEAST_FOR_ACCURACY
        if alarm.cause == "novelty" and (share or 0.0) >= MOSTLY_NEW and not told:
            sentence = f"{share:.0%} of the recent images are of a kind not seen in training: "
            return Verdict("unknown", sentence + "confidence tells nothing about them.", detail)
        return Verdict("drift", alarm.sentence + words(detail), detail)
    if stream.relative is None:
        found = known(stream.key).nearest(stream.burn_in.cells_CZ.sum(axis=0))
        if found is not None:
            detail["nearest"] = {"name": found[0], "distance": round(found[1], 3)}
        return Verdict("learning", _learning(stream, detail), detail)
    return Verdict("healthy", _healthy(stream, stream.relative) + words(detail), detail)


def present_state(row: StreamRow, *, now_s: float, silent_after_s: float) -> tuple[State, str]:
    """State and sentence as of now: a stream without events for too long is `silent`."""
    if now_s - row.last_event_s > silent_after_s:
        return "silent", f"No event since {rfc3339(row.last_event_s)}; it was {row.state}."
    return row.state, row.sentence


def answering_rows(
    rows: Iterable[StreamRow], answers: Callable[[StreamKey], bool]
) -> tuple[StreamRow, ...]:
    """One row a domain: of a version that answers it, else its newest row, said to be learning."""
    newest: dict[tuple[str, str], StreamRow] = {}
    for row in sorted(rows, key=lambda row: row.key.version):
        place = (row.key.model, row.key.domain)
        if answers(row.key) or place not in newest or not answers(newest[place].key):
            newest[place] = row
    return tuple(_if_answering(newest[place], answers) for place in sorted(newest))


def _if_answering(row: StreamRow, answers: Callable[[StreamKey], bool]) -> StreamRow:
    """The row, or what to say of a domain that the present version has not met."""
    if answers(row.key):
        return row
    sentence = f"The version that answers now has seen nothing here yet, unlike {row.key.version}."
    detail = {name: value for name, value in row.detail.items() if name != "alarm"}
    return replace(row, state="learning", sentence=sentence, detail=detail)


def _looking_on(stream: Stream, detail: dict[str, Any]) -> Verdict:
    found = _evidence(stream)
    state: State = "learning" if stream.relative is None else "healthy"
    if any(e.confidence >= e.threshold for e in found.values()):
        state = "degraded"
    elif any(e.total >= e.threshold for e in found.values()):
        state = "drift"
    numbers = ", ".join(
        f"{name} 10^{e.total:.1f} of 10^{e.threshold:.1f}" for name, e in found.items()
    )
    sentence = "This version answers no traffic now and raises no alarm"
    return Verdict(state, f"{sentence}; evidence {numbers}." if numbers else f"{sentence}.", detail)


def _learning(stream: Stream, detail: dict[str, Any]) -> str:
    needed = stream.plan.burn_in_scenes
    why = "Learning"
    if stream.is_accepted:
        why = "Learning anew, as an operator accepted the change"
    elif stream.is_provisional:
        why = "New name, provisional and without alarms for now"
    sentence = f"{why}: {stream.burn_in.scenes:.0f} of {needed} burn-in scenes."
    if (detail["novelty_share"] or 0.0) >= MOSTLY_NEW:
        return f"{sentence} It looks like no source domain."
    if "nearest" in detail:
        return f"{sentence} Its confidence looks most like that of {detail['nearest']['name']}."
    return sentence


def _healthy(stream: Stream, relative: Detection) -> str:
    evidence, recent = relative.evidence(), mean_confidence(stream.recent.cells_CZ)
    return (
        f"Nothing speaks for a change: mean confidence {recent:.1%} "
        f"(burn-in {mean_confidence(stream.burn_in.cells_CZ):.1%}), evidence "
        f"10^{evidence.total:.1f} of 10^{evidence.threshold:.1f}."
    )


def _detail(stream: Stream) -> dict[str, Any]:
    novelty_Q = stream.recent.novelty_Q
    total = float(novelty_Q.sum())
    return {
        "mean_confidence": _number(mean_confidence(stream.recent.cells_CZ)),
        "reference_mean_confidence": {
            d.reference: _number(mean_confidence(reference_cells(stream, d)))
            for d in stream.detections
        },
        "evidence": {name: rounded(evidence) for name, evidence in _evidence(stream).items()},
        "novelty_share": float(novelty_Q[-1]) / total if total > 0 else None,
        "images": stream.totals.images,
        "errors": stream.totals.errors,
        "defects": {
            name: round(count, 1) for name, count in vars(stream.health).items() if count >= 0.5
        },
        "provisional": stream.is_provisional,
        "scenes": stream.totals.scenes,
        "burn_in_scenes": stream.burn_in.scenes,
        "burn_in_needed": stream.plan.burn_in_scenes,
    }


def _evidence(stream: Stream) -> dict[str, Evidence]:
    """Of every detector, the labelled one included where labels came."""
    found = {str(d.reference): d.evidence() for d in stream.detections}
    labelled = stream.labelled.evidence()
    return found if labelled is None else {**found, "labelled": labelled}


def _accuracy(stream: Stream, since_onset: Sample | None) -> dict[str, Any]:
    """The estimate of accuracy without labels: since the onset, else of recent answers.

    A site of little traffic has few recent ones; while nothing speaks for a change there, its
    burn-in stands for it.
    """
    sample, which = stream.recent, "recent answers"
    if since_onset is not None:
        sample, which = since_onset, "answers since the onset"
    elif stream.recent.scenes < LEAST_SCENES <= stream.burn_in.scenes:
        sample, which = stream.burn_in, "answers of its burn-in"
    known, complaint = stream.baseline.accuracy, stream.health.complaint
    return {"accuracy": estimate(known, sample, which=which, complaint=complaint).to_detail()}


def _drop(stream: Stream) -> dict[str, Any]:
    """How far recent confidence lies below the burn-in, by the look of images and by classes."""
    classes, labelled = len(stream.baseline.classes), stream.baseline.labelled_CCZ
    tables = (stream.burn_in.cells_CZ, stream.recent.cells_CZ)
    if stream.relative is None or any(len(table) != classes for table in tables):
        return {}
    split = split_drop(labelled, *tables)
    return {} if split is None else {"drop": {"look": split.look, "mix": split.mix}}


def _about(alarm: Alarm) -> dict[str, Any]:
    return {
        "alarm": {
            "id": alarm.alarm_id,
            "kind": alarm.kind,
            "cause": alarm.cause,
            "reference": alarm.reference,
            "onset": rfc3339(alarm.onset_s),
            "raised": rfc3339(alarm.raised_s),
            "images_until_alarm": alarm.images_since_onset,
            "scenes_until_alarm": alarm.scenes_since_onset,
        }
    }


def rounded(evidence: Evidence) -> dict[str, float]:
    """Evidence and threshold in log10, as people and programs are told."""
    return {
        "total_log10": round(evidence.total, 3),
        "confidence_log10": round(evidence.confidence, 3),
        "threshold_log10": round(evidence.threshold, 3),
    }


def _number(value: float) -> float | None:
    return value if value == value else None  # NaN is no JSON
