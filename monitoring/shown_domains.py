"""Which domains have metrics of their own, and the sums of all others.

Alarmed domains come first, then those with the most evidence. The counts of the others go to the
domain `other` as they grow, so its counters only rise, whoever comes and goes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from typing import NamedTuple

from redshank.store.monitor_rows import StreamKey, StreamRow


class Counts(NamedTuple):
    """Counters of one domain, or of all others together."""

    images: int = 0
    errors: int = 0


def shown_rows(rows: Iterable[StreamRow], most: int) -> list[StreamRow]:
    """At most `most` rows: alarmed ones, then by evidence, then the busiest; in order of keys."""
    return sorted(sorted(rows, key=_rank)[:most], key=lambda row: row.key)


def nearest_threshold(row: StreamRow) -> float:
    """How near the nearest detector is to its threshold, in powers of ten: 0 is at it."""
    gaps = [n["total_log10"] - n["threshold_log10"] for n in row.detail["evidence"].values()]
    return max(gaps, default=-math.inf)


class OtherDomains:
    """Remembers how far each hidden domain was counted; safe from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[StreamKey, Counts] = {}
        self._sums: dict[tuple[str, str], Counts] = {}

    def add(
        self, rows: Iterable[StreamRow], shown: Iterable[StreamRow]
    ) -> dict[tuple[str, str], Counts]:
        """Count what came to hidden rows since the last call; sums by model and version."""
        with self._lock:
            visible = {row.key for row in shown}
            now = {row.key: _counts(row) for row in rows}
            for key, counts in now.items():
                if key not in visible:
                    before = self._seen.get(key, Counts())
                    group = (key.model, key.version)
                    sums = self._sums.get(group, Counts())
                    self._sums[group] = Counts(
                        sums.images + max(counts.images - before.images, 0),
                        sums.errors + max(counts.errors - before.errors, 0),
                    )
            self._seen = now
            return dict(self._sums)


def _rank(row: StreamRow) -> tuple[bool, float, int, StreamKey]:
    return "alarm" not in row.detail, -nearest_threshold(row), -row.detail["images"], row.key


def _counts(row: StreamRow) -> Counts:
    totals = row.memory["totals"]
    return Counts(totals["images"], totals["errors"])
