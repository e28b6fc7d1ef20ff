"""The first page: every domain with its state, the worst first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from monitoring.shown_domains import nearest_threshold
from redshank.files import rfc3339
from redshank.settings import MonitoringSettings
from redshank.store.monitor_rows import STATES, State, StreamKey, StreamRow
from redshank.store.monitor_series import Point, series

from .charts import sparkline
from .links import domain_path, fleet_path
from .sources import Sources

WORST_FIRST: tuple[State, ...] = ("degraded", "unknown", "drift", "silent", "learning", "healthy")
ROWS = 50
"""Domains on one page."""
SPARK_TICKS = 96
"""Ticks in a sparkline."""


@dataclass(frozen=True)
class FleetRow:
    """What the table shows of one domain."""

    key: StreamKey
    path: str
    state: State
    sentence: str
    confidence: str
    confidence_line: Markup
    evidence: str
    evidence_line: Markup
    images: int
    errors: int
    last_event: str


def fleet_values(sources: Sources, query: Mapping[str, str]) -> dict[str, Any]:
    """Values of the page's template.

    Args:
        sources: what the pages read.
        query: `q` (a part of the domain's name), `state`, `page` (from 1); others are ignored.
    """
    picture = sources.board.picture
    ranked = sorted(picture.rows, key=lambda row: _badness(sources, row))
    found = [row for row in ranked if _fits(sources, row, query)]
    pages = max(math.ceil(len(found) / ROWS), 1)
    page = min(max(_whole(query.get("page", "")), 1), pages)
    shown = found[(page - 1) * ROWS : page * ROWS]
    counts = Counter(sources.board.state(row)[0] for row in ranked)
    return {
        "rows": _rows(sources, shown),
        "found": len(found),
        "domains": len(ranked),
        "counts": [(state, counts[state]) for state in WORST_FIRST],
        "states": STATES,
        "q": query.get("q", ""),
        "state": query.get("state", ""),
        "page": page,
        "pages": pages,
        "before": fleet_path(query, page=page - 1) if page > 1 else "",
        "after": fleet_path(query, page=page + 1) if page < pages else "",
        "picture": picture,
        "finished": rfc3339(picture.finished_s) if picture.passes else "",
        "waiting": _waiting(sources),
        "alarms_open": len(picture.alarms),
        "promise": promise_in_words(sources.settings.monitoring),
        "refresh": query.get("refresh") == "1",
    }


def promise_in_words(monitoring: MonitoringSettings) -> str:
    """What the user was promised about false alarms."""
    days = monitoring.tick_s * monitoring.period_ticks / 86_400
    span = f"{days:.3g} day" + ("" if days == 1 else "s")
    chance = f"{100 * monitoring.false_alarms:.3g} %"
    if monitoring.promise == "fleet":
        return f"at most a chance of {chance} of any false alarm in {span}, over all domains"
    return f"for each domain at most a chance of {chance} of a false alarm in {span}"


def _badness(sources: Sources, row: StreamRow) -> tuple[int, float, StreamKey]:
    return WORST_FIRST.index(sources.board.state(row)[0]), -nearest_threshold(row), row.key


def _fits(sources: Sources, row: StreamRow, query: Mapping[str, str]) -> bool:
    text, state = query.get("q", "").strip().lower(), query.get("state", "")
    return text in row.key.domain.lower() and state in ("", sources.board.state(row)[0])


def _rows(sources: Sources, rows: list[StreamRow]) -> list[FleetRow]:
    if not rows:
        return []
    newest = max(row.last_tick for row in rows)
    points: dict[StreamKey, list[Point]] = {}
    wanted = {row.key.domain for row in rows}
    for point in series(sources.monitor, domains=wanted, from_tick=newest - SPARK_TICKS):
        points.setdefault(point.key, []).append(point)
    return [_row(sources, row, points.get(row.key, [])) for row in rows]


def _row(sources: Sources, row: StreamRow, points: list[Point]) -> FleetRow:
    state, sentence = sources.board.state(row)
    mean = row.detail["mean_confidence"]
    confidence = "" if mean is None else f"{mean:.1%}"
    gap = nearest_threshold(row)
    name = row.key.domain
    return FleetRow(
        key=row.key,
        path=domain_path(row.key.model, name),
        state=state,
        sentence=sentence,
        confidence=confidence,
        confidence_line=sparkline(
            [point.mean_confidence for point in points],
            f"Mean confidence of {name}, now {confidence}",
        ),
        evidence=_gap_in_words(gap),
        evidence_line=sparkline(
            [_gap(point) for point in points],
            f"Evidence against {name}, {_gap_in_words(gap)}",
            level=0.0,
        ),
        images=row.detail["images"],
        errors=row.detail["errors"],
        last_event=rfc3339(row.last_event_s)[:16].replace("T", " "),
    )


def _gap(point: Point) -> float | None:
    found = [e for e in (point.absolute, point.relative) if e is not None]
    return max((e.total - e.threshold for e in found), default=None)


def _gap_in_words(gap: float) -> str:
    if gap == -math.inf:
        return "no reference yet"
    if gap >= 0:
        return f"10^{gap:.1f} over the threshold"
    return f"10^{-gap:.1f} below the threshold"


def _waiting(sources: Sources) -> list[dict[str, str]]:
    """Healings that wait for a person."""
    return [
        {"id": healing.healing_id, "model": healing.model}
        for healing in sources.control.healings("proposed")
    ]


def _whole(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 7 else 1
