"""One batch: bytes -> pixels -> model -> JSON and events. Runs in the worker's inference thread."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from PIL import Image

from redshank.errors import InputError
from redshank.events import OK, SCHEMA, Event
from redshank.files import Clock
from redshank.http_api import Prediction, prediction_json
from redshank.infer import Predictions, top_classes
from redshank.preprocess import ImageArray, decode_image, fingerprint

from .engine import Job, Worked
from .identity import EventIds
from .metrics import Metrics
from .refusal import Refusal
from .swap import Served

log = logging.getLogger("redshank.serving")
Record = Callable[[Event, bytes | None], None]
"""Takes an event, and the image's bytes where they may be kept."""


@dataclass(frozen=True)
class _Decoded:
    """A job whose bytes gave a picture, at its place in the batch."""

    place: int
    job: Job
    served: Served
    image_HW3: ImageArray


class Inference:
    """Answers batches of jobs.

    Args:
        record: takes one event for every job.
        metrics: the worker's series.
        ids: makes event ids.
        max_pixels: largest image.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        record: Record,
        metrics: Metrics,
        ids: EventIds,
        *,
        max_pixels: int,
        clock: Clock = time.time,
    ) -> None:
        self._record, self._metrics, self._ids = record, metrics, ids
        self._max_pixels, self._clock = max_pixels, clock

    def work(self, jobs: list[Job]) -> Worked:
        """One answer a job, in order; a bad image is one refusal, not a failed batch."""
        answers: list[bytes | Refusal] = [Refusal("internal") for _ in jobs]
        seen: list[tuple[_Decoded, str]] = []
        for group in self._decoded(jobs, answers):
            predictions = self._predict(group)
            if predictions is None:
                continue
            for row, decoded in enumerate(group):
                answers[decoded.place] = self._answer(decoded, predictions, row)
                seen.append((decoded, _class_name(decoded.served, predictions, row)))
        return Worked(answers, self._shadow_work(seen))

    def _decoded(
        self, jobs: Sequence[Job], answers: list[bytes | Refusal]
    ) -> Sequence[list[_Decoded]]:
        """Pictures grouped by the bundle that answers them; bad ones are refused in `answers`."""
        groups: dict[str, list[_Decoded]] = {}
        for place, job in enumerate(jobs):
            served = job.snapshot.choose(job.domain, job.client)
            spec = served.model.bundle.input
            try:
                image_HW3 = decode_image(
                    job.data, spec.height, spec.width, max_pixels=self._max_pixels
                )
            except InputError as error:
                answers[place] = self._refused(job, served, error)
            else:
                group = groups.setdefault(served.version, [])
                group.append(_Decoded(place, job, served, image_HW3))
        return list(groups.values())

    def _predict(self, group: Sequence[_Decoded]) -> Predictions | None:
        """One run of one bundle; when it fails, only its own images are `internal`."""
        served = group[0].served
        self._metrics.batch_images.observe(len(group))
        try:
            return served.model.predict(np.stack([d.image_HW3 for d in group]))
        except Exception:  # a broken canary must not take the live bundle's answers with it
            log.exception("bundle %s failed on %d images", served.version, len(group))
            for decoded in group:
                self.record_refused(decoded.job, "internal")
            return None

    def warm_up(self) -> None:
        """Decode one picture of each usual format: Pillow loads its plugins on first use."""
        for kind in ("PNG", "JPEG"):
            buffer = io.BytesIO()
            Image.new("RGB", (8, 8)).save(buffer, kind)
            decode_image(buffer.getvalue(), 8, 8, max_pixels=self._max_pixels)

    def record_refused(self, job: Job, code: str) -> None:
        """Record a job that got no prediction."""
        served = job.snapshot.choose(job.domain, job.client)
        self._record(self._event(job, served, code), None)

    def _refused(self, job: Job, served: Served, error: InputError) -> Refusal:
        code = getattr(error, "code", "invalid_image")
        self._record(self._event(job, served, code, _digest(job.data)), None)
        return Refusal(code, error.message, hint=error.hint)

    def _answer(self, decoded: _Decoded, predictions: Predictions, row: int) -> bytes:
        job, served = decoded.job, decoded.served
        bundle = served.model.bundle
        confidence = float(predictions.confidence_N[row])
        top = top_classes(predictions.probabilities_NC[row], bundle.classes)
        answer = Prediction(
            request_id=job.request_id,
            model=bundle.model,
            version=served.version,
            domain=job.domain,
            class_name=_class_name(served, predictions, row),
            confidence=confidence,
            abstain=confidence < bundle.abstain_below,
            top=top,
            latency_ms=round(1000 * (time.perf_counter() - job.started), 3),
        )
        outcome = "deadline_exceeded" if job.expired else OK
        event = self._seen(decoded, predictions, row, outcome)
        self._record(event, job.data if job.capture and outcome == OK else None)
        return orjson.dumps(prediction_json(answer))

    def _seen(self, decoded: _Decoded, predictions: Predictions, row: int, outcome: str) -> Event:
        """The event of a picture that the model saw."""
        job = decoded.job
        image = fingerprint(decoded.image_HW3)
        if outcome != OK:
            return self._event(job, decoded.served, outcome, _digest(job.data), image)
        scores = (
            int(predictions.class_N[row]),
            float(predictions.confidence_N[row]),
            float(predictions.margin_N[row]),
            float(predictions.novelty_N[row]),
        )
        return self._event(job, decoded.served, outcome, _digest(job.data), image, scores)

    def _event(
        self,
        job: Job,
        served: Served,
        outcome: str,
        digest: str = "",
        image: tuple[str, float, float] = ("", 0.0, 0.0),
        scores: tuple[int, float, float, float] = (-1, 0.0, 0.0, 0.0),
    ) -> Event:
        class_index, confidence, margin, novelty = scores
        dhash, mean, spread = image
        return Event(
            schema=SCHEMA,
            event_id=self._ids.new(self._clock()),
            received_at=job.received_at,
            domain=job.domain,
            model=served.model.bundle.model,
            version=served.version,
            role=served.role,
            outcome=outcome,
            class_index=class_index,
            confidence=confidence,
            margin=margin,
            novelty=novelty,
            dhash=dhash,
            brightness_mean=mean,
            brightness_spread=spread,
            sequence_id=job.sequence_id,
            client=job.client,
            latency_ms=round(1000 * (time.perf_counter() - job.started), 3),
            image_sha256=digest,
            stored=False,
        )

    def _shadow_work(self, seen: Sequence[tuple[_Decoded, str]]) -> Callable[[], None] | None:
        """Let the shadow look at the batch, after the answers are out and nobody waits."""
        shadow = seen[0][0].job.snapshot.shadow if seen else None
        if shadow is None:
            return None
        spec = shadow.model.bundle.input
        size = (spec.height, spec.width)
        fitting = [pair for pair in seen if pair[0].image_HW3.shape[:2] == size]
        return (lambda: self._shadow(shadow, fitting)) if fitting else None

    def _shadow(self, shadow: Served, seen: Sequence[tuple[_Decoded, str]]) -> None:
        """Predict with the shadow; count agreement with the answers given, and record events."""
        predictions = shadow.model.predict(np.stack([decoded.image_HW3 for decoded, _ in seen]))
        for row, (decoded, answered) in enumerate(seen):
            agrees = str(_class_name(shadow, predictions, row) == answered).lower()
            self._metrics.shadow.labels(shadow.version, agrees).inc()
            shadowed = dataclasses.replace(decoded, served=shadow)
            self._record(self._seen(shadowed, predictions, row, OK), None)


def _class_name(served: Served, predictions: Predictions, row: int) -> str:
    return served.model.bundle.classes[int(predictions.class_N[row])]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
