"""Events and field images leave the worker here, without ever delaying an answer.

`record` puts events on a bounded queue and returns. One thread offers images to the field store
and appends events to the spool, in batches. When the disk is full or locked the events wait in
memory and are tried again with a new file; what no longer fits is dropped and counted by reason.
`stop` writes everything that is left.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import orjson

from redshank.events import Event, SpoolError
from redshank.fieldstore import FieldStore

from .capture_rate import CaptureRate
from .dead_workers import DELETED
from .metrics import Metrics

RETRY_S = 1.0
MOST_EVENTS = 50_000
MOST_IMAGE_BYTES = 64 * 1024 * 1024
log = logging.getLogger("redshank.serving")


class Offer(NamedTuple):
    """An event whose image may be kept."""

    event: Event
    image: bytes


Recorded: TypeAlias = str | Offer
"""What `event_text` made of an event, or the event while it is open whether its image is kept."""


def event_text(event: Event) -> str:
    """As `redshank.events.encode_event`, faster."""
    return orjson.dumps(event).decode()


class Spool(Protocol):
    """What the recorder needs of `redshank.events.EventWriter`."""

    deleted_rows: int
    """Events in files that somebody deleted while they were written."""

    def append_texts(self, rows: Sequence[str]) -> int:
        """Write a batch or raise SpoolError or OSError."""

    def seal(self) -> None:
        """Mark the file complete."""


class Recorder:
    """A queue of events with one thread behind it.

    Args:
        spool: where events go.
        field: where captured images go; None captures nothing.
        metrics: the worker's series.
        flush_s: longest time an event waits in memory while the disk is well.
        flush_events: so many events are written at once without waiting.
        rate: how many images of a domain are offered to the field store.
        most_events: events held in memory at most.
        most_image_bytes: bytes of images held in memory at most.
    """

    def __init__(
        self,
        spool: Spool,
        field: FieldStore | None,
        metrics: Metrics,
        *,
        flush_s: float,
        flush_events: int,
        rate: CaptureRate | None = None,
        most_events: int = MOST_EVENTS,
        most_image_bytes: int = MOST_IMAGE_BYTES,
    ) -> None:
        self._spool, self._field, self._metrics = spool, field, metrics
        self._flush_s, self._flush_events = flush_s, flush_events
        self._most_events, self._most_image_bytes = most_events, most_image_bytes
        self._queue: deque[Recorded] = deque()
        self._ready: list[str] = []
        self._rate = rate or CaptureRate(math.inf)
        # `labels` costs as much as the counting itself
        self._passed = {name: metrics.captures.labels(name) for name in ("over_rate", "behind")}
        self._image_bytes = self._over_rate = 0
        self._failing, self._losing_images = False, False
        self._deleted = 0
        self._catch_up: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self, catch_up: Callable[[], None] = lambda: None) -> None:
        """Begin to write.

        Args:
            catch_up: has events made of what waits elsewhere; called when less than `flush_events`
                came in `flush_s`, and at the end.
        """
        self._catch_up = catch_up
        self._thread.start()

    def wants(self, domain: str, received_at: float) -> bool:
        """Whether an image of a domain may be offered, by the rate; counts those that may not."""
        with self._lock:
            is_wanted = self._rate.allows(domain, received_at)
            self._over_rate += not is_wanted
        return is_wanted

    def record(self, events: Sequence[Recorded]) -> None:
        """Take events; returns at once."""
        with self._lock:
            room = max(0, self._most_events - len(self._queue) - len(self._ready))
            self._queue.extend(self._kept(events[:room]))
            # a disk that fails is asked again after RETRY_S, not at every request
            enough = len(self._queue) >= self._flush_events and not self._failing
        if len(events) > room:
            self._drop("spool_error" if self._failing else "queue_full", len(events) - room)
        if enough:
            self._wake.set()

    def _kept(self, events: Sequence[Recorded]) -> list[Recorded]:
        """The events, without images that no memory is left for. The lock is held."""
        kept: list[Recorded] = []
        behind = 0
        for recorded in events:
            if isinstance(recorded, str):
                kept.append(recorded)
            elif self._image_bytes + len(recorded.image) > self._most_image_bytes:
                behind += 1
                kept.append(event_text(recorded.event))
            else:
                self._image_bytes += len(recorded.image)
                kept.append(recorded)
        self._count("over_rate", self._over_rate)
        self._count("behind", behind)
        self._over_rate = 0
        return kept

    def _count(self, outcome: str, images: int) -> None:
        if images:
            self._passed[outcome].inc(images)

    def stop(self) -> None:
        """Write what is left, seal the spool and end the thread."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._wake.wait(RETRY_S if self._failing else self._flush_s):
                self._catch_up()
            self._wake.clear()
            self._flush()
        self._catch_up()
        self._flush()
        if self._ready:
            self._flush()  # one more try, with a new file
        self._drop("shutdown", len(self._ready) + len(self._queue))
        try:
            self._spool.seal()
        except (SpoolError, OSError) as error:
            log.error("the spool was not sealed: %s", error)
        self._count_deleted()

    def _flush(self) -> None:
        """Move images to the field store, then events to the spool, batch by batch."""
        while self._queue or self._ready:
            for recorded in self._take():
                if not isinstance(recorded, str):
                    recorded = self._capture(*recorded)
                self._ready.append(recorded)
            if not self._write():
                return

    def _take(self) -> list[Recorded]:
        """As many from the queue as are written at once, less those that wait to be written."""
        with self._lock:
            count = min(len(self._queue), max(0, self._flush_events - len(self._ready)))
            return [self._queue.popleft() for _ in range(count)]

    def _write(self) -> bool:
        batch = self._ready
        try:
            self._spool.append_texts(batch)
        except (SpoolError, OSError) as error:
            if not self._failing:
                log.error("events cannot be written, they wait in memory: %s", error)
            self._failing = True
            return False
        if self._failing:
            log.warning("events are written again")
        self._failing = False
        self._ready = []
        self._metrics.events_written.inc(len(batch))
        self._count_deleted()
        return True

    def _count_deleted(self) -> None:
        """Say and count what somebody deleted with its spool file."""
        count = self._spool.deleted_rows - self._deleted
        if count:
            self._deleted += count
            self._drop(DELETED, count)
            log.error("a spool file was deleted with %d events, read or not", count)

    def _capture(self, event: Event, image: bytes) -> str:
        try:
            return event_text(self._offered(event, image))
        finally:
            with self._lock:
                self._image_bytes -= len(image)

    def _offered(self, event: Event, image: bytes) -> Event:
        if self._field is None:
            return event
        try:
            stored = self._field.add(
                event.domain,
                image,
                sha256=event.image_sha256,
                received_at=event.received_at,
                client=event.client,
                sequence_id=event.sequence_id,
                dhash=event.dhash,
                confidence=event.confidence,
                novelty=event.novelty,
            )
        except Exception as error:  # no picture may end the thread that writes the events
            self._metrics.captures.labels("failed").inc()
            if not self._losing_images:  # a full disk would say it a hundred times a second
                log.warning("an image of %s was not kept: %s", event.domain, error)
            self._losing_images = True
            return event
        self._losing_images = False
        self._metrics.captures.labels("stored" if stored else "passed_over").inc()
        return dataclasses.replace(event, stored=stored)

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self._metrics.events_dropped.labels(reason).inc(count)
