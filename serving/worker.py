"""One worker process: the pieces of the stage put together, started and stopped in order."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass
from functools import lru_cache, partial

from redshank.events import EventWriter, expire
from redshank.field_scenes import SceneRule
from redshank.fieldstore import FieldStore
from redshank.files import Clock
from redshank.preprocess import ImageArray
from redshank.registry import Registry
from redshank.settings import ServingSettings, Settings

from .access import Access, load_access
from .capture_rate import CaptureRate
from .dead_workers import FAULT, forget_dead_workers, keep_place
from .engine import Batcher, Job
from .identity import EventIds, client_hash, load_salt
from .inference import Answer, Inference, Rules
from .limits import DomainLabels, Limits
from .metrics import Metrics
from .mirror import mirror_of
from .observe import Observer
from .plans import Plans, plans_of
from .quick import is_quick
from .recorder import Recorder, Spool
from .refusal import Refusal
from .shadow import ShadowRunner
from .swap import ReleaseWatcher, Served, Snapshot

EXPIRE_EVERY_S = 3600.0
KNOWN_CLIENTS = 4096
"""Salted hashes kept in memory."""


@dataclass(frozen=True)
class Sender:
    """What the headers of a request say, checked."""

    request_id: str
    domain: str
    sequence_id: str
    client: str
    """Client id or address, not yet hashed."""
    received_at: float
    started: float


class Worker:
    """Everything that answers requests in one process."""

    def __init__(
        self, settings: Settings, *, clock: Clock = time.time, spool: Spool | None = None
    ) -> None:
        serving, home = settings.serving, settings.home
        self.limits = Limits(
            max_body_bytes=serving.max_body_bytes,
            max_pixels=serving.max_pixels,
            max_queue=serving.max_queue,
            max_files=serving.max_files,
            deadline_s=serving.deadline_ms / 1000,
        )
        self.clock = clock
        self.metrics = Metrics()
        self.abstain_below = serving.abstain_below
        self.access: Access = load_access(serving.tokens_file, serving.host)
        self.draining = False
        self._drain_s, self._watched = serving.drain_s, serving.record
        self._hash = lru_cache(KNOWN_CLIENTS)(partial(client_hash, load_salt(home.path("."))))
        self._labels = DomainLabels(serving.max_domains)
        self._capture_domains = frozenset(serving.capture_domains)
        self._spool_folder = home.path("spool")
        self._retention_s = serving.retention_days * 86_400
        self._field_folder = home.path("field")
        self._capture_s = serving.capture_days * 86_400
        self._expire_at = 0.0
        self._mirror = mirror_of(settings, self.metrics)
        self._ids = EventIds()
        self.model = serving.model
        self.registry = Registry(home.path("models"), home.path("bundles"))
        self.watcher = self._release_watcher(serving, plans_of(settings))
        self._recorder = Recorder(
            spool or EventWriter(self._spool_folder, self._ids.worker),
            self._field_store(settings),
            self.metrics,
            flush_s=serving.flush_s,
            flush_events=serving.flush_events,
            rate=CaptureRate(serving.capture_per_s),
        )
        self._observer = self._make_observer(serving)
        self._inference = self._make_inference(serving)
        self._shadow = ShadowRunner(
            self._observer.shadowed, self.metrics, share=serving.shadow_share
        )
        self.batcher = Batcher(
            self._inference.work,
            self._inference.refused,
            limit=lambda job: job.snapshot.live.max_batch,
            max_queue=serving.max_queue,
        )

    def _release_watcher(self, serving: ServingSettings, plans: Plans | None) -> ReleaseWatcher:
        return ReleaseWatcher(
            self.registry,
            serving.model,
            self.metrics,
            poll_s=serving.poll_s,
            max_batch=serving.max_batch,
            precision=serving.precision,
            on_tick=self._tick,
            plans=plans,
        )

    def _make_inference(self, serving: ServingSettings) -> Inference:
        rules = Rules(
            max_pixels=serving.max_pixels,
            decode_s=serving.decode_ms / 1000,
            abstain_below=serving.abstain_below,
        )
        return Inference(self._observer, self.metrics, rules)

    def _make_observer(self, serving: ServingSettings) -> Observer:
        return Observer(
            self._recorder.record,
            self._count,
            self._ids,
            wants=self._recorder.wants,
            show=lambda seen: self._shadow.offer(seen),
            lost=self.metrics.events_dropped.labels(FAULT).inc,
            watched=serving.record,
            clock=self.clock,
        )

    @property
    def drain_s(self) -> float:
        """Seconds between `not ready` and the end of the listener."""
        return self._drain_s

    @property
    def ready(self) -> bool:
        """Whether this worker takes requests."""
        return self.watcher.snapshot is not None and not self.draining

    def start(self) -> None:
        """Load the release (its absence leaves the worker not ready, not dead) and begin."""
        forget_dead_workers(events=self._watched)
        self._inference.warm_up()
        self._recorder.start(self._observer.catch_up)
        self._shadow.start()
        self.watcher.start()
        gc.collect()
        gc.freeze()  # what is loaded now stays: later collections need not walk it

    def stop(self) -> None:
        """End all threads; every event is in the spool afterwards."""
        self.watcher.stop()
        self.batcher.close()
        self._shadow.stop()
        self._recorder.stop()
        if self._mirror is not None:
            self._mirror.stop()

    def snapshot(self) -> Snapshot:
        """What answers now.

        Raises:
            Refusal: nothing is loaded.
        """
        snapshot = self.watcher.snapshot
        if snapshot is None:
            raise Refusal("not_ready", hint=self.watcher.problem, retry_after_s=1)
        return snapshot

    def predict(
        self,
        data: bytes | ImageArray,
        sender: Sender,
        deadline_s: float | None = None,
        *,
        version: str = "",
    ) -> asyncio.Future[Answer]:
        """The answer to one image, to be awaited; it raises Refusal for a bad image or 504.

        Args:
            data: a file, or pixels of the live bundle's size.
            sender: what the headers said.
            deadline_s: how long the sender waits; never longer than the settings say.
            version: the bundle that shall answer, live or canary; empty: as the release says.

        Raises:
            Refusal: no bytes, no model, full queue.
        """
        if not len(data):
            raise Refusal("bad_request", "the body is empty", hint="Send the bytes of an image.")
        longest_s, snapshot = self.limits.deadline_s, self.snapshot()
        snapshot = snapshot.only(version) if version else snapshot
        return self.batcher.submit(
            Job(
                data=data,
                request_id=sender.request_id,
                domain=sender.domain,
                sequence_id=sender.sequence_id,
                client=self._hash(sender.client),
                snapshot=snapshot,
                received_at=sender.received_at,
                started=sender.started,
                capture=sender.domain in self._capture_domains,
                deadline_s=longest_s if deadline_s is None else min(deadline_s, longest_s),
                quick=snapshot.is_small and isinstance(data, bytes) and is_quick(data),
            )
        )

    def _count(self, served: Served, domain: str, outcome: str, images: int) -> None:
        label = self._labels.label(domain)
        name, version = served.model.bundle.model, served.version
        self.metrics.predicted((name, version, label, served.role, outcome), images)

    def _tick(self) -> None:
        """Keep house: once an hour, spool files and field images whose time has ended go."""
        keep_place()
        if self._mirror is not None:
            self._mirror.look()
        now = self.clock()
        if (
            not self._expire_at - EXPIRE_EVERY_S <= now < self._expire_at
        ):  # due, or the clock stepped
            self._expire_at = now + EXPIRE_EVERY_S
            try:
                expire(self._spool_folder, before_s=now - self._retention_s)
            finally:
                FieldStore(self._field_folder).expire(now - self._capture_s)

    def _field_store(self, settings: Settings) -> FieldStore | None:
        if not self._capture_domains:
            return None
        return FieldStore(
            self._field_folder,
            per_domain=settings.serving.capture_per_domain,
            max_bytes=settings.serving.capture_max_bytes,
            scenes=SceneRule(
                gap_s=settings.monitoring.scene_gap_s, distance=settings.monitoring.scene_distance
            ),
        )


class Slot:
    """Where the routes find the worker: filled when the process starts, empty before."""

    def __init__(self) -> None:
        self.worker: Worker | None = None

    def get(self) -> Worker:
        """The worker.

        Raises:
            Refusal: it has not started yet.
        """
        if self.worker is None:
            raise Refusal("not_ready", retry_after_s=1)
        return self.worker
