"""The worker's Prometheus series: requests, latency, batches, events, releases.

Under BentoML's supervisor PROMETHEUS_MULTIPROC_DIR is set and every worker writes files there; then
`/metrics` of any worker shows the sum of all. Alone (tests) the worker's own registry answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from redshank.events import Role

from .dead_workers import DROPPED_MEANING, FOLDER, REASONS, reserve_files

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Series of one worker."""

    def __init__(self) -> None:
        reserve_files()
        self.registry = registry = CollectorRegistry()

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"redshank_{name}_total", meaning, labels, registry=registry)

        self.requests = counter(
            "requests", "Answers by route template and HTTP status.", "route", "status"
        )
        self.predictions = counter(
            "predictions",
            "Images by what became of them; outcome is ok or an error code.",
            *("model", "version", "domain", "role", "outcome"),
        )
        self._count_events(counter)
        self.swaps = counter("release_swaps", "Releases taken over.")
        self.release_failures = counter(
            "release_failures", "Releases not taken over because a bundle failed.", "role"
        )
        for role in get_args(Role):  # as with lost events below
            self.release_failures.labels(role)

        def seconds(name: str, meaning: str, *labels: str) -> Histogram:
            name = f"redshank_{name}_seconds"
            return Histogram(name, meaning, labels, buckets=_SECONDS, registry=registry)

        self.request_seconds = seconds(
            "request", "Time from the first byte read to the answer.", "route"
        )
        self.model_seconds = seconds(
            "model", "Time of one run of the model, whatever the number of images.", "version"
        )
        self.batch_images = Histogram(
            "redshank_batch_images",
            "Images in one run of the model.",
            ["version"],
            buckets=_IMAGES,
            registry=registry,
        )
        self.revision = Gauge(
            "redshank_release_revision",
            "Lowest revision that a living worker answers with; 0 before the first.",
            ["model"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._kept()

    def _count_events(self, counter: Callable[..., Counter]) -> None:
        """What became of events and images beside the answers."""
        self.events_written = counter("events_written", "Events in the spool.")
        self.events_dropped = counter("events_dropped", DROPPED_MEANING, "reason")
        for reason in REASONS:  # at 0 from the start, or `increase` misses the first losses
            self.events_dropped.labels(reason)
        self.captures = counter(
            "captures",
            "Images for the field store: stored, passed_over, over_rate, behind or failed.",
            "outcome",
        )
        self.captures.labels("failed")
        self.mirrored = counter(
            "field_mirror",
            "Field images by what the mirror did: uploaded, removed, forgotten, failed or left.",
            "outcome",
        )
        self.mirror_passes = counter(
            "field_mirror_passes", "Passes of the mirror by outcome: ok or failed.", "outcome"
        )
        self.shadow = counter(
            "shadow",
            "Images for the shadow: agrees is true, false, behind, unfit or failed.",
            *("version", "agrees"),
        )

    def _kept(self) -> None:
        # `labels` costs as much as the counting itself: what comes with every request is kept
        self._answered: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._runs: dict[str, tuple[Histogram, Histogram]] = {}
        self._predicted: dict[tuple[str, ...], Counter] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answer; `route` is a template and `status` one that we give."""
        known = self._answered.get((route, status))
        if known is None:
            known = (
                self.requests.labels(route, str(status)),
                self.request_seconds.labels(route),
            )
            self._answered[route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def ran(self, version: str, images: int, seconds: float) -> None:
        """Count one run of a bundle."""
        known = self._runs.get(version)
        if known is None:
            known = (self.batch_images.labels(version), self.model_seconds.labels(version))
            self._runs[version] = known
        known[0].observe(images)
        known[1].observe(seconds)

    def predicted(self, labels: tuple[str, str, str, str, str], images: int) -> None:
        """Count images of equal model, version, domain, role and outcome."""
        known = self._predicted.get(labels)
        if known is None:
            known = self._predicted[labels] = self.predictions.labels(*labels)
        known.inc(images)

    def exposition(self) -> bytes:
        """The text format, of all workers where there are several and their files are there."""
        if os.path.isdir(os.environ.get(FOLDER, "")):  # noqa: PTH112  # empty: no folder
            with suppress(OSError):  # somebody deletes them right now
                merged = CollectorRegistry()
                MultiProcessCollector(merged)  # type: ignore[no-untyped-call]  # untyped in prometheus_client
                return generate_latest(merged)
        return generate_latest(self.registry)
