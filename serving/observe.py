"""What is written down of every picture that was asked about: its event, and its bytes if kept.

Counting comes with the answer. The rest - fingerprint, digest, event - is made for many small
pictures at once, because NumPy's calls cost as much for one of them as for ten: when enough have
come together, at the latest when the recorder next looks (`serving.flush_s`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple

import numpy as np

from redshank.events import OK, SCHEMA, Event
from redshank.files import Clock
from redshank.fingerprint import Fingerprint, fingerprints
from redshank.infer import Predictions
from redshank.preprocess import ImageArray

from .engine import Job
from .identity import EventIds
from .recorder import Offer, Recorded, event_text
from .swap import Served

MOST_PIXELS = 64 * 32 * 32
"""Pixels that wait at most."""
AT_ONCE = 16 * 32 * 32
"""Pixels whose fingerprints are made at once: more would drive all else out of the caches."""
MOST_BYTES = 2**20
"""Bytes of files that wait at most."""
MOST_WAITING = 64
"""Runs, or images that got no prediction, that wait at most."""
NOT_SEEN: Fingerprint = ("", 0.0, 0.0)
NO_SCORES = (-1, 0.0, 0.0, 0.0)
Scores = tuple[int, float, float, float]
"""Class, confidence, margin and novelty."""
log = logging.getLogger("redshank.serving")


class Seen(NamedTuple):
    """A picture that a bundle answered, as a shadow needs it."""

    job: Job[Any]
    image_HW3: ImageArray
    fingerprint: Fingerprint
    digest: str
    class_name: str


class Run(NamedTuple):
    """One run of a bundle, answered."""

    served: Served
    jobs: Sequence[Job[Any]]
    files: Sequence[bytes | ImageArray]
    """What was sent; a job gives up its own when it is answered."""
    images_NHW3: ImageArray
    predictions: Predictions
    outcomes: Sequence[str]
    answered_s: float
    """`time.perf_counter`."""


class Refused(NamedTuple):
    """A job that got no prediction."""

    served: Served
    job: Job[Any]
    outcome: str
    digest: str
    answered_s: float


class Observer:
    """Counts what became of images, and makes their events.

    Args:
        record: takes events.
        count: told at once about images of equal bundle, domain and outcome.
        ids: makes event ids.
        wants: whether an image of a domain, received then, shall be offered to the field store.
        show: takes what was seen, for the shadow.
        lost: told how many events could not be made.
        watched: whether there are events at all; without, only refusals are counted.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        record: Callable[[list[Recorded]], None],
        count: Callable[[Served, str, str, int], None],
        ids: EventIds,
        *,
        wants: Callable[[str, float], bool] = lambda _, __: True,
        show: Callable[[Sequence[Seen]], None] = lambda _: None,
        lost: Callable[[int], None] = lambda _: None,
        watched: bool = True,
        clock: Clock = time.time,
    ) -> None:
        self._record, self._count, self._ids, self._wants = record, count, ids, wants
        self._show, self._lost, self._watched, self._clock = show, lost, watched, clock
        self._lock = threading.Lock()
        self._waiting: list[Run | Refused] = []
        """In the order of their answers."""
        self._pixels = self._bytes = 0

    def answered(
        self,
        served: Served,
        jobs: Sequence[Job[Any]],
        images_NHW3: ImageArray,
        predictions: Predictions,
        answered_s: float,
    ) -> None:
        """Take one run of a bundle; a job that expired meanwhile got another answer."""
        if not self._watched:
            return
        outcomes = ["deadline_exceeded" if job.expired else OK for job in jobs]
        counts: dict[tuple[str, str], int] = {}
        for job, outcome in zip(jobs, outcomes, strict=True):
            counts[job.domain, outcome] = counts.get((job.domain, outcome), 0) + 1
        for (domain, outcome), images in counts.items():
            self._count(served, domain, outcome, images)
        files = [job.data for job in jobs]
        run = Run(served, jobs, files, images_NHW3, predictions, outcomes, answered_s)
        is_enough = self._wait_with(run, images_NHW3.size // 3, sum(map(len, files)))
        if is_enough or jobs[0].snapshot.shadow is not None:
            self.catch_up()

    def refused(
        self, job: Job[Any], served: Served, outcome: str, *, was_read: bool = False
    ) -> None:
        """Take a job that got no prediction; `outcome` is its error code."""
        self._count(served, job.domain, outcome, 1)
        if self._watched:
            digest = _digest(job.data) if was_read else ""
            job.data = b""  # nobody needs it any more, and it may be large
            refused = Refused(served, job, outcome, digest, time.perf_counter())
            if self._wait_with(refused):
                self.catch_up()

    def shadowed(self, shadow: Served, seen: Sequence[Seen], predictions: Predictions) -> None:
        """Take what a shadow would have answered."""
        now_s = time.perf_counter()
        events: list[Recorded] = []
        for one, scores in zip(seen, _scores(predictions), strict=True):
            self._count(shadow, one.job.domain, OK, 1)
            event = self._event(one.job, shadow, OK, now_s, one.digest, one.fingerprint, scores)
            events.append(event_text(event))
        self._record(events)

    def catch_up(self) -> None:
        """Record all that waits; any thread may."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._pixels = self._bytes = 0
        made: list[Recorded] = []
        try:
            for one, images in _with_fingerprints(waiting):
                made += self._events(one, images) if isinstance(one, Run) else [self._refusal(one)]
        except Exception:  # no picture may take answers, or the recorder's thread, with it
            count = sum(len(one.jobs) if isinstance(one, Run) else 1 for one in waiting)
            log.exception("the events of %d images could not be made", count - len(made))
            self._lost(count - len(made))
        if made:
            self._record(made)

    def _wait_with(self, one: Run | Refused, pixels: int = 0, size: int = 0) -> bool:
        """Have it wait for others; whether there are enough now."""
        with self._lock:
            self._waiting.append(one)
            self._pixels += pixels
            self._bytes += size
            is_full = len(self._waiting) >= MOST_WAITING
            return is_full or self._pixels >= MOST_PIXELS or self._bytes >= MOST_BYTES

    def _events(self, run: Run, images: Sequence[Fingerprint]) -> list[Recorded]:
        """Events of one run; what was answered in time is shown to the shadow."""
        served, classes = run.served, run.served.model.bundle.classes
        events: list[Recorded] = []
        seen: list[Seen] = []
        places = zip(
            run.jobs, run.files, run.outcomes, images, _scores(run.predictions), strict=True
        )
        for place, (job, file, outcome, image, scores) in enumerate(places):
            digest = _digest(file)
            if outcome != OK:
                late = self._event(job, served, outcome, run.answered_s, digest, image)
                events.append(event_text(late))
                continue
            event = self._event(job, served, OK, run.answered_s, digest, image, scores)
            events.append(self._offered(event, file) if job.capture else event_text(event))
            if job.snapshot.shadow is not None:
                seen.append(Seen(job, run.images_NHW3[place], image, digest, classes[scores[0]]))
        if seen:
            self._show(seen)
        return events

    def _offered(self, event: Event, file: bytes | ImageArray) -> Recorded:
        """The event of an image that may be kept, with it if so."""
        if isinstance(file, bytes) and self._wants(event.domain, event.received_at):
            return Offer(event, file)
        return event_text(event)

    def _refusal(self, refused: Refused) -> Recorded:
        served, job, outcome, digest, answered_s = refused
        return event_text(self._event(job, served, outcome, answered_s, digest))

    def _event(
        self,
        job: Job[Any],
        served: Served,
        outcome: str,
        answered_s: float,
        digest: str = "",
        image: Fingerprint = NOT_SEEN,
        scores: Scores = NO_SCORES,
    ) -> Event:
        class_index, confidence, margin, novelty = scores
        dhash, mean, spread = image
        return Event(  # in the order of its fields: twenty keywords take as long as a fingerprint
            SCHEMA,
            self._ids.new(self._clock()),
            job.received_at,
            job.domain,
            served.model.bundle.model,
            served.version,
            served.role,
            outcome,
            class_index,
            confidence,
            margin,
            novelty,
            dhash,
            mean,
            spread,
            job.sequence_id,
            job.client,
            int(1e6 * (answered_s - job.started) + 0.5) / 1000,  # `round` takes five times as long
            digest,
            False,  # not stored yet
        )


def _with_fingerprints(
    waiting: Sequence[Run | Refused],
) -> Iterator[tuple[Run | Refused, list[Fingerprint]]]:
    """Each run with those of its images, made at once for neighbours of one size."""
    for shape, same in groupby(waiting, key=_shape):
        alike = list(same)
        images = [run.images_NHW3 for run in alike if isinstance(run, Run)]
        found = _fingerprints(np.concatenate(images)) if shape else iter(())
        for one in alike:
            yield one, list(islice(found, len(one.jobs))) if isinstance(one, Run) else []


def _fingerprints(images_NHW3: ImageArray) -> Iterator[Fingerprint]:
    """Of each image, some at once, about as many each time."""
    size, height, width, _ = images_NHW3.shape
    parts = min(size, max(1, round(size * height * width / AT_ONCE)))
    for part in range(parts):
        yield from fingerprints(images_NHW3[size * part // parts : size * (part + 1) // parts])


def _shape(one: Run | Refused) -> tuple[int, ...]:
    """Of one image; empty where there is none."""
    return one.images_NHW3.shape[1:] if isinstance(one, Run) else ()


def _scores(predictions: Predictions) -> list[Scores]:
    """Of each image as plain numbers."""
    return list(
        zip(
            predictions.class_N.tolist(),
            predictions.confidence_N.tolist(),
            predictions.margin_N.tolist(),
            predictions.novelty_N.tolist(),
            strict=True,
        )
    )


def _digest(data: bytes | ImageArray) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.tobytes()).hexdigest()
