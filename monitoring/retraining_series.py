"""Metrics of retraining and releases, read from the control database and the registry.

Outcomes are counted along the append-only audit trail, so the counters never fall: a healing that
went live and was rolled back later counts in both.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Sequence
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from redshank.errors import RedshankError
from redshank.files import parse_rfc3339
from redshank.healing import ENDS, AuditRow, Healing
from redshank.registry import Registry
from redshank.store.control import ControlStore
from redshank.trigger import Kind

KINDS: tuple[str, ...] = get_args(Kind)
OUTCOMES: tuple[str, ...] = tuple(sorted(ENDS))


class RetrainingSeries:
    """Families of the newest state; reads only what the trail gained since the last scrape."""

    def __init__(self, control: ControlStore, registry: Registry) -> None:
        self._control, self._registry = control, registry
        self._lock = threading.Lock()
        self._seq = -1
        self._ended: Counter[tuple[str, str, str]] = Counter()
        self._healings: tuple[Healing, ...] = ()
        self._kinds: dict[str, str] = {}
        self._successes: dict[str, float] = {}
        self._families: list[Metric] = []

    def families(self) -> list[Metric]:
        """All series; while a database is locked they stay as they were."""
        with self._lock:
            with contextlib.suppress(RedshankError):  # the evaluator's own passes report it
                self._read()
                self._families = self._made()
            return self._families

    def _made(self) -> list[Metric]:
        models = sorted({h.model for h in self._healings} | set(self._registry.names()))
        active = [h for h in self._healings if h.state not in ENDS]
        return [
            self._runs(models),
            *_active(models, active),
            _successes(self._successes),
            *_gates(self._healings),
            *self._releases(),
        ]

    def _read(self) -> None:
        rows = self._control.audit(after_seq=max(self._seq, 0))
        if not rows and self._seq >= 0:
            return
        self._healings = self._control.healings()
        self._kinds = {t.trigger_id: t.kind for t in self._control.triggers()}
        self._count(rows)
        self._seq = rows[-1].seq if rows else max(self._seq, 0)

    def _count(self, rows: Sequence[AuditRow]) -> None:
        by_id = {healing.healing_id: healing for healing in self._healings}
        for row in rows:
            healing = by_id.get(row.subject)
            if healing is not None and row.action in OUTCOMES:
                kind = self._kinds[healing.trigger_id]
                self._ended[healing.model, kind, row.action] += 1
                if row.action == "live":
                    self._successes[healing.model] = parse_rfc3339(row.at)

    def _runs(self, models: Sequence[str]) -> Metric:
        """Every outcome, zeros too: an increase from nothing would not be seen."""
        runs = CounterMetricFamily(
            "redshank_retrain_runs",
            "Healings by what began them and how they ended.",
            labels=["model", "trigger", "outcome"],
        )
        for model in models:
            for kind in KINDS:
                for outcome in OUTCOMES:
                    runs.add_metric([model, kind, outcome], self._ended[model, kind, outcome])
        return runs

    def _releases(self) -> list[Metric]:
        live = _gauge("release_info", "1 for the bundle that a model's release names.", "bundle")
        since = _gauge("release_timestamp_seconds", "When a model's release was last changed.")
        for model in self._registry.names():
            release = self._registry.read(model)
            live.add_metric([model, release.live], 1.0)
            since.add_metric([model], parse_rfc3339(release.updated_at))
        return [live, since]


def _active(models: Sequence[str], active: Sequence[Healing]) -> list[Metric]:
    running = _gauge("retrain_running", "Healings under way.")
    waiting = _gauge("retrain_proposals", "Healings that wait for a person.")
    since = _gauge(
        "retrain_since_timestamp_seconds", "When a healing came into its state.", "state"
    )
    asked, queued = {"proposed"}, {"proposed", "pending"}
    for model in models:
        mine = [h for h in active if h.model == model]
        running.add_metric([model], sum(h.state not in queued for h in mine))
        waiting.add_metric([model], sum(h.state in asked for h in mine))
        for state in sorted({h.state for h in mine}):
            oldest = min(parse_rfc3339(h.updated_at) for h in mine if h.state == state)
            since.add_metric([model, state], oldest)
    return [running, waiting, since]


def _successes(successes: dict[str, float]) -> Metric:
    last = _gauge("retrain_last_success_timestamp_seconds", "When a healed model last went live.")
    for model, at_s in sorted(successes.items()):
        last.add_metric([model], at_s)
    return last


def _gates(healings: Sequence[Healing]) -> list[Metric]:
    """The gate table of each model's newest healing that came so far."""
    labels = ("gate", "domain", "verdict")
    value = _gauge("retrain_gate_value", "Gate values of the newest healing.", *labels)
    threshold = _gauge("retrain_gate_threshold", "Gate thresholds of the same.", *labels)
    newest = {healing.model: healing for healing in healings if healing.gates}
    for model, healing in sorted(newest.items()):
        for gate in healing.gates:
            names = [model, gate.name, gate.domain, gate.verdict]
            value.add_metric(names, gate.value)
            threshold.add_metric(names, gate.threshold)
    return [value, threshold]


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"redshank_{name}", text, labels=["model", *labels])
