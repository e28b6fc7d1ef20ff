"""A domain's page: what happened, since when, by what, and what it looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from redshank.bundle import read_bundle
from redshank.cells import FloatArray
from redshank.errors import InputError, RedshankError
from redshank.fieldstore import FieldImage
from redshank.files import rfc3339
from redshank.records import did_you_mean
from redshank.store.monitor_rows import Alarm, StreamRow, Window
from redshank.store.monitor_series import Point, alarms_of, series

from .charts import Line, Mark, chart
from .healings import healings_of
from .labelling import progress_of, queue_of
from .links import domain_path, path
from .sources import Sources

SPANS = {"6": "6 hours", "24": "a day", "168": "a week", "720": "30 days"}
"""Hours -> name."""
MOST_WINDOWS = 500
"""Windows before the onset whose classes are counted."""
EXAMPLES = 12
"""Images shown."""
NOTED = {
    "accept": "Noted: the evaluator learns this domain anew when the tick is over.",
    "retire": "Noted: the evaluator forgets this domain when the tick is over.",
}
"""What is said after a decision, until it is applied."""
REFERENCES = {"relative": "its own burn-in", "absolute": "held-out source domains"}


@dataclass(frozen=True)
class Example:
    """One image of the page."""

    path: str
    text: str
    at: str


@dataclass(frozen=True)
class ClassShare:
    """How often a class was predicted before and since the onset, as ratios."""

    name: str
    before: float
    since: float


def domain_values(
    sources: Sources, model: str, domain: str, query: Mapping[str, str], *, may_look: bool
) -> dict[str, Any]:
    """Values of the page's template.

    Args:
        sources: what the pages read.
        model: name of the model.
        domain: name of the domain.
        query: `hours` to draw, `noted` after a decision.
        may_look: whether the visitor may see images.

    Raises:
        InputError: the evaluator knows no such domain.
    """
    row = find_row(sources, model, domain)
    state, sentence = sources.board.state(row)
    alarms = alarms_of(sources.monitor, model=model, domain=domain)
    alarm = next((a for a in alarms if a.closed_s is None and a.key == row.key), None)
    hours = query.get("hours", "24") if query.get("hours", "24") in SPANS else "24"
    points = _points(sources, row, float(hours))
    return {
        "row": row,
        "detail": row.detail,
        "here": domain_path(model, domain),
        "noted": NOTED.get(query.get("noted", "")),
        "state": state,
        "sentence": sentence,
        "alarm": alarm,
        "alarms": [a for a in alarms if a is not alarm][:20],
        "hours": hours,
        "spans": SPANS,
        "evidence_charts": _evidence_charts(points, alarm),
        "confidence_chart": _confidence_chart(points, row, alarm),
        "drop": row.detail.get("drop"),
        "accuracy": row.detail.get("accuracy"),
        "classes": _class_shares(sources, row, alarm) if alarm else [],
        "examples": _examples(sources, domain, alarm) if may_look else [],
        "kept": domain in sources.field.domains(),
        "may_look": may_look,
        "ticks": list(reversed(points))[:20],
        "healings": healings_of(sources, model, domain),
        "labels": row.detail.get("labels"),
        "queue": progress_of(sources, queue_of(sources, model, domain)),
    }


def find_row(sources: Sources, model: str, domain: str) -> StreamRow:
    """Where a domain stands under the version that answers it.

    Raises:
        InputError: the evaluator knows no such domain.
    """
    rows = sources.board.picture.rows
    for row in rows:
        if (row.key.model, row.key.domain) == (model, domain):
            return row
    known = {row.key.domain for row in rows if row.key.model == model}
    raise InputError(
        f"no domain {domain!r} of model {model!r} is under watch{did_you_mean(domain, known)}",
        hint="A domain appears after the tick in which its first image came.",
    )


def _points(sources: Sources, row: StreamRow, hours: float) -> list[Point]:
    begin = row.last_tick - int(hours * 3600 / sources.settings.monitoring.tick_s)
    found = series(sources.monitor, domains=[row.key.domain], model=row.key.model, from_tick=begin)
    return [point for point in found if point.key.version == row.key.version]


def _marks(alarm: Alarm | None) -> list[Mark]:
    if alarm is None:
        return []
    onset = Mark("onset", alarm.onset_s, "onset", is_before=True)
    return [onset, Mark("alarm", alarm.raised_s, "alarm")]


def _evidence_charts(points: Sequence[Point], alarm: Alarm | None) -> list[tuple[str, Markup]]:
    """One chart a reference: powers of ten against its threshold."""
    charts = []
    for reference, against in REFERENCES.items():
        found = [point.evidence(reference) for point in points]
        if any(evidence is not None for evidence in found):
            title = f"Evidence against {against} (powers of ten)"
            lines = (
                Line("fall of confidence", [e.confidence if e else None for e in found], "main"),
                Line("any change", [e.total if e else None for e in found], "second"),
                Line("threshold", [e.threshold if e else None for e in found], "level"),
            )
            drawn = chart(title, [p.at_s for p in points], lines, marks=_marks(alarm))
            charts.append((title, drawn))
    return charts


def _confidence_chart(points: Sequence[Point], row: StreamRow, alarm: Alarm | None) -> Markup:
    lines = [Line("mean confidence", [p.mean_confidence for p in points], "main")]
    for name, value in row.detail["reference_mean_confidence"].items():
        if value is not None:
            style = "level" if name == "relative" else "second"
            lines.append(Line(f"mean of {REFERENCES[name]}", [value] * len(points), style))
    times_s = [point.at_s for point in points]
    return chart("Mean confidence", times_s, lines, marks=_marks(alarm), percent=True, telling=min)


def _class_shares(sources: Sources, row: StreamRow, alarm: Alarm) -> list[ClassShare]:
    """Predicted classes before and since the onset, counted by scene."""
    tick_s = sources.settings.monitoring.tick_s
    onset = int(alarm.onset_s / tick_s)
    windows = sources.monitor.windows(**row.key._asdict(), from_tick=onset - MOST_WINDOWS)
    before = _by_class([w for w in windows if w.tick < onset])
    since = _by_class([w for w in windows if w.tick >= onset])
    size = max(len(before), len(since))
    if not size or not before.sum() or not since.sum():
        return []
    shares = [np.pad(c, (0, size - len(c))) / c.sum() for c in (before, since)]
    names = _class_names(sources, row.key.version, size)
    found = [
        ClassShare(name, float(b), float(s)) for name, b, s in zip(names, *shares, strict=True)
    ]
    return sorted(found, key=lambda share: -abs(share.since - share.before))[:12]


def _by_class(windows: Sequence[Window]) -> FloatArray:
    size = max((len(w.cells_CZ) for w in windows), default=0)
    counts_C: FloatArray = np.zeros(size)
    for window in windows:
        counts_C[: len(window.cells_CZ)] += window.cells_CZ.sum(axis=1)
    return counts_C


def _class_names(sources: Sources, version: str, size: int) -> list[str]:
    try:
        names = read_bundle(sources.registry.bundle_path(version), verify=False).classes
    except RedshankError:  # the bundle was removed; its numbers stay
        names = ()
    return [names[n] if n < len(names) else f"class {n}" for n in range(size)]


def _examples(sources: Sources, domain: str, alarm: Alarm | None) -> list[Example]:
    """Images since the onset, or the newest: half the least confident, half spread over time."""
    images = sources.field.images(domain, since_s=alarm.onset_s if alarm else None)
    if alarm is None:
        images = images[-10 * EXAMPLES :]
    unsure = sorted(images, key=lambda image: image.confidence)[: EXAMPLES // 2]
    rest = [image for image in images if image not in unsure]
    places = np.linspace(0, len(rest) - 1, min(len(rest), EXAMPLES - len(unsure))).astype(int)
    return [_example(image) for image in [*unsure, *(rest[n] for n in places)]]


def _example(image: FieldImage) -> Example:
    at = rfc3339(image.received_at)[:19].replace("T", " ")
    text = f"confidence {image.confidence:.0%}, novelty {image.novelty:.2f}"
    return Example(path("images", image.domain, image.sha256), text, at)
