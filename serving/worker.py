"""One worker process: the pieces of the stage put together, started and stopped in order."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

from redshank.events import Event, EventWriter, expire
from redshank.fieldstore import FieldStore
from redshank.files import Clock
from redshank.registry import Registry
from redshank.settings import Settings

from .access import Access, load_access
from .engine import Batcher, Job
from .identity import EventIds, client_hash, load_salt
from .inference import Inference
from .limits import DomainLabels, Limits
from .metrics import Metrics, forget_dead_workers
from .recorder import Recorder, Spool
from .refusal import Refusal
from .swap import ReleaseWatcher, Snapshot

EXPIRE_EVERY_S = 3600.0


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
            max_batch=serving.max_batch,
            max_queue=serving.max_queue,
            max_files=serving.max_files,
            deadline_s=serving.deadline_ms / 1000,
        )
        self.clock = clock
        self.metrics = Metrics()
        self.access: Access = load_access(serving.tokens_file, serving.host)
        self.draining = False
        self._drain_s = serving.drain_s
        self._salt = load_salt(home.path("."))
        self._labels = DomainLabels(serving.max_domains)
        self._capture_domains = frozenset(serving.capture_domains)
        self._spool_folder = home.path("spool")
        self._retention_s = serving.retention_days * 86_400
        self._field_folder = home.path("field")
        self._capture_s = serving.capture_days * 86_400
        self._expire_at = 0.0
        ids = EventIds()
        self.watcher = ReleaseWatcher(
            Registry(home.path("models"), home.path("bundles")),
            serving.model,
            self.metrics,
            poll_s=serving.poll_s,
            max_batch=serving.max_batch,
            on_tick=self._tick,
        )
        self._recorder = Recorder(
            spool or EventWriter(self._spool_folder, ids.worker),
            self._field_store(settings),
            self.metrics,
            flush_s=serving.flush_s,
            flush_events=serving.flush_events,
        )
        self._inference = Inference(
            self._record, self.metrics, ids, max_pixels=serving.max_pixels, clock=clock
        )
        self.batcher = Batcher(
            self._inference.work,
            self._inference.record_refused,
            max_batch=serving.max_batch,
            max_queue=serving.max_queue,
            deadline_s=self.limits.deadline_s,
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
        forget_dead_workers()
        self._inference.warm_up()
        self._recorder.start()
        self.watcher.start()
        gc.collect()
        gc.freeze()  # what is loaded now stays: later collections need not walk it

    def stop(self) -> None:
        """End all threads; every event is in the spool afterwards."""
        self.watcher.stop()
        self.batcher.close()
        self._recorder.stop()

    def snapshot(self) -> Snapshot:
        """What answers now.

        Raises:
            Refusal: nothing is loaded.
        """
        snapshot = self.watcher.snapshot
        if snapshot is None:
            raise Refusal("not_ready", hint=self.watcher.problem, retry_after_s=1)
        return snapshot

    async def predict(self, data: bytes, sender: Sender) -> bytes:
        """The JSON answer to one image.

        Raises:
            Refusal: empty or bad image, full queue, deadline.
        """
        if not data:
            raise Refusal("bad_request", "the body is empty", hint="Send the bytes of an image.")
        return await self.batcher.submit(
            Job(
                data=data,
                request_id=sender.request_id,
                domain=sender.domain,
                sequence_id=sender.sequence_id,
                client=client_hash(self._salt, sender.client),
                snapshot=self.snapshot(),
                received_at=sender.received_at,
                started=sender.started,
                capture=sender.domain in self._capture_domains,
            )
        )

    def _record(self, event: Event, image: bytes | None) -> None:
        domain = self._labels.label(event.domain)
        self.metrics.predictions.labels(
            event.model, event.version, domain, event.role, event.outcome
        ).inc()
        self._recorder.record(event, image)

    def _tick(self) -> None:
        """Delete spool files and field images whose time has ended, once an hour."""
        now = self.clock()
        if now >= self._expire_at:
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
