"""Prometheus metrics of the evaluator, made from the board at every scrape.

The evaluator decides, Prometheus shows and delivers: a window threshold in PromQL has no
false-alarm promise. At most `metrics_domains` domains get series of their own (shown_domains.py);
the images and errors of the rest are those of the domain `other`, and `redshank_domains` counts
all of them by state. The console and its `/api/domains` list every one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from redshank import __version__
from redshank.cells import CONFIDENCE_EDGES, CONFIDENCE_MIDPOINTS
from redshank.store.monitor_rows import STATES, StreamRow

from .board import Board, Picture
from .names import OTHER
from .retraining_series import RetrainingSeries
from .shown_domains import Counts, OtherDomains, shown_rows

LABELS = ["model", "version", "domain"]
BUCKETS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
MOST_CLASSES = 20
"""Models with more classes get no series by predicted class."""
DEFECTS = ("undecodable", "even", "repeated")


class BoardCollector(Collector):
    """Series of the newest picture; O(domains) a scrape."""

    def __init__(self, board: Board, retraining: RetrainingSeries | None = None) -> None:
        self._board, self._retraining = board, retraining
        self._others = OtherDomains()

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: registering must not collect."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All series."""
        picture = self._board.picture
        rows = shown_rows(picture.rows, self._board.monitoring.metrics_domains)
        yield from _evaluator_series(picture)
        yield _count_series(self._board)
        yield from _traffic_series(rows, self._others.add(picture.rows, rows))
        yield from _gauge_series(rows)
        yield from _accuracy_series(rows)
        yield _label_series(rows)
        yield from _state_series(rows, self._board)
        if self._retraining is not None:
            yield from self._retraining.families()


def _evaluator_series(picture: Picture) -> Iterator[Metric]:
    info = GaugeMetricFamily("redshank_build_info", "Version of redshank.", labels=["version"])
    info.add_metric([__version__], 1.0)
    yield info
    if picture.passes:  # before the first one MonitorAbsent waits, MonitorStalled would not
        yield _single(
            "redshank_monitor_last_tick_timestamp_seconds",
            "When the evaluator last finished a pass.",
            picture.finished_s,
        )
    yield _single(
        "redshank_monitor_tick_duration_seconds", "Time the last pass took.", picture.seconds
    )
    yield _single("redshank_monitor_domains", "Domains under watch.", len(picture.rows))
    yield _single(
        "redshank_monitor_problems", "Things that wait, like triggers.", len(picture.problems)
    )


def _count_series(board: Board) -> Metric:
    """How many domains are in each state, those without series of their own included."""
    family = GaugeMetricFamily(
        "redshank_domains", "Domains in each state.", labels=["model", "state"]
    )
    counts = Counter((row.key.model, board.state(row)[0]) for row in board.picture.rows)
    for model in sorted({model for model, _ in counts}):
        for state in STATES:
            family.add_metric([model, state], counts[model, state])
    return family


def _traffic_series(
    rows: list[StreamRow], others: Mapping[tuple[str, str], Counts]
) -> Iterator[Metric]:
    images = CounterMetricFamily("redshank_domain_images", "Classified images.", labels=LABELS)
    errors = CounterMetricFamily(
        "redshank_domain_errors", "Requests that got no class.", labels=LABELS
    )
    predictions = CounterMetricFamily(
        "redshank_domain_predictions",
        "Scene-weighted predictions of each class.",
        labels=[*LABELS, "predicted"],
    )
    confidence = HistogramMetricFamily(
        "redshank_prediction_confidence_ratio",
        "Calibrated confidence, scene-weighted.",
        labels=LABELS,
    )
    others = dict(others)
    for row in rows:
        totals = row.memory["totals"]
        more = Counts()
        if row.key.domain == OTHER:  # beyond `max_domains`: the same name for the same thing
            more = others.pop((row.key.model, row.key.version), more)
        images.add_metric(row.key, totals["images"] + more.images)
        errors.add_metric(row.key, totals["errors"] + more.errors)
        if len(totals["by_class"]) <= MOST_CLASSES:
            for index, count in enumerate(totals["by_class"]):
                predictions.add_metric([*row.key, str(index)], count)
        buckets, total = _buckets(totals["by_confidence"])
        confidence.add_metric(row.key, buckets, sum_value=total)
    for group, counts in others.items():
        images.add_metric([*group, OTHER], counts.images)
        errors.add_metric([*group, OTHER], counts.errors)
    yield from (images, errors, predictions, confidence)


def _gauge_series(rows: list[StreamRow]) -> Iterator[Metric]:
    mean = _gauge("confidence_mean_ratio", "Mean confidence of recent scenes.")
    reference = _gauge(
        "confidence_reference_mean_ratio", "Mean confidence of the reference.", "reference"
    )
    evidence = _gauge(
        "drift_evidence_log10", "Evidence that something got worse.", "reference", "kind"
    )
    threshold = _gauge("drift_threshold_log10", "Evidence at which to alarm.", "reference")
    novelty = _gauge("novelty_ratio", "Recent images beyond the 95 % novelty quantile.")
    look = _gauge("drop_from_look_ratio", "Fall of confidence by the images, while alarmed.")
    mix = _gauge("drop_from_class_mix_ratio", "Fall of confidence by other classes, likewise.")
    defects = _gauge("defective_images_ratio", "Recent images that are no evidence.", "defect")
    for row in rows:
        detail = row.detail
        for family, part in ((look, "look"), (mix, "mix")):
            _add(family, row, detail.get("drop", {}).get(part))
        found = detail.get("defects", {})
        for defect in DEFECTS:
            _add(defects, row, found.get(defect, 0.0) / max(found.get("images", 0.0), 1.0), defect)
        _add(mean, row, detail["mean_confidence"])
        _add(novelty, row, detail["novelty_share"])
        for name, value in detail["reference_mean_confidence"].items():
            _add(reference, row, value, name)
        for name, numbers in detail["evidence"].items():
            _add(evidence, row, numbers["total_log10"], name, "drift")
            _add(evidence, row, numbers["confidence_log10"], name, "degraded")
            _add(threshold, row, numbers["threshold_log10"], name)
    yield from (mean, reference, evidence, threshold, novelty, look, mix, defects)


def _accuracy_series(rows: list[StreamRow]) -> Iterator[Metric]:
    """The interval of the accuracy, by labels where there are enough, of domains that have one."""
    lower = _gauge("estimated_accuracy_lower_ratio", "Lower end of the estimated accuracy.")
    upper = _gauge("estimated_accuracy_upper_ratio", "Upper end of the estimated accuracy.")
    for row in rows:
        estimate = row.detail.get("accuracy") or {}
        _add(lower, row, estimate.get("lower"))
        _add(upper, row, estimate.get("upper"))
    yield from (lower, upper)


def _label_series(rows: list[StreamRow]) -> Metric:
    """Labelled answers of domains that have some; their evidence is of the reference `labelled`."""
    scenes = _gauge(
        "labelled_scenes",
        "Labelled scenes since the onset of the open alarm, else in the last budget period.",
        "answer",
    )
    for row in rows:
        if (told := row.detail.get("labels")) is not None:
            _add(scenes, row, told["right"], "right")
            _add(scenes, row, told["scenes"] - told["right"], "wrong")
    return scenes


def _state_series(rows: list[StreamRow], board: Board) -> Iterator[Metric]:
    states = _gauge("domain_state", "1 for the state a domain is in.", "state")
    alarms = _gauge("drift_alarm", "1 while an alarm is open.", "kind", "cause")
    onset = _gauge("drift_onset_timestamp_seconds", "Estimated begin of an open alarm.", "kind")
    last = _gauge("domain_last_event_timestamp_seconds", "Time of the domain's last event.")
    for row in rows:
        state, _ = board.state(row)
        for name in STATES:
            _add(states, row, float(name == state), name)
        _add(last, row, row.last_event_s)
    shown = {row.key for row in rows}
    for alarm in board.picture.alarms:
        if alarm.key in shown:
            alarms.add_metric([*alarm.key, alarm.kind, alarm.cause], 1.0)
            onset.add_metric([*alarm.key, alarm.kind], alarm.onset_s)
    yield from (states, alarms, onset, last)


def _buckets(by_bin: list[float]) -> tuple[list[tuple[str, float]], float]:
    """Cumulative classic buckets and the sum of confidences, from the 19 bins."""
    buckets = []
    for edge in BUCKETS:
        below = CONFIDENCE_EDGES.index(edge) + 1
        buckets.append((str(edge), sum(by_bin[:below])))
    buckets.append(("+Inf", sum(by_bin)))
    return buckets, sum(n * m for n, m in zip(by_bin, CONFIDENCE_MIDPOINTS, strict=True))


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"redshank_{name}", text, labels=[*LABELS, *labels])


def _add(family: GaugeMetricFamily, row: StreamRow, value: Any, *labels: str) -> None:
    if value is not None:
        family.add_metric([*row.key, *labels], value)


def _single(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
