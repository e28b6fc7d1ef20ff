"""One batch: bytes -> pixels -> model -> JSON and events. Runs in the worker's inference thread.

Whatever can be done once a batch is done once a batch: sorting, conversion to Python numbers, the
time, the metrics. At a thousand small images a second that is what the service costs.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import orjson
from PIL import Image

from redshank.errors import InputError
from redshank.events import OK, SCHEMA, Event
from redshank.files import Clock
from redshank.fingerprint import Fingerprint, fingerprints
from redshank.http_api import prediction_values
from redshank.infer import Predictions
from redshank.preprocess import ImageArray, decode_image

from .engine import Job
from .identity import EventIds
from .metrics import Metrics
from .recorder import Recorded
from .refusal import Refusal
from .swap import Served

TOP = 3
"""Classes named in an answer."""
NOT_SEEN: Fingerprint = ("", 0.0, 0.0)
log = logging.getLogger("redshank.serving")


class Answer(NamedTuple):
    """What a client gets."""

    body: bytes
    """JSON of `redshank.http_api.Prediction`."""
    served: Served
    """The bundle that answered."""


class Seen(NamedTuple):
    """A picture that a bundle answered, as a shadow needs it."""

    job: Job[Answer]
    image_HW3: ImageArray
    fingerprint: Fingerprint
    digest: str
    class_name: str


class _Decoded(NamedTuple):
    """A job whose bytes gave a picture, at its place in the batch."""

    place: int
    job: Job[Answer]
    image_HW3: ImageArray


@dataclass(frozen=True)
class Rules:
    """What an operator decides about answers."""

    max_pixels: int
    """Largest image."""
    decode_s: float = math.inf
    """Longest time of decoding one image."""
    watched: bool = True
    """Whether answers are recorded; without it no image is fingerprinted and no shadow looks."""
    abstain_below: Mapping[str, float] = field(default_factory=dict)
    """Thresholds of single domains; others have the bundle's."""


class Inference:
    """Answers batches of jobs.

    Args:
        record: takes the events of a batch.
        metrics: the worker's series.
        ids: makes event ids.
        rules: limits and thresholds.
        show: takes what was seen, for the shadow.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        record: Callable[[list[Recorded]], None],
        metrics: Metrics,
        ids: EventIds,
        rules: Rules,
        *,
        show: Callable[[Sequence[Seen]], None] = lambda _: None,
        clock: Clock = time.time,
    ) -> None:
        self._record, self._metrics, self._ids = record, metrics, ids
        self._rules, self._show, self._clock = rules, show, clock

    def work(self, jobs: list[Job[Answer]]) -> list[Answer | Refusal]:
        """One answer a job, in order; a bad image is one refusal, not a failed batch."""
        answers: list[Answer | Refusal | None] = [None] * len(jobs)
        events: list[Recorded] = []
        for served, group in self._decoded(jobs, answers, events):
            found = self._predict(served, group)
            if found is None:
                events += [self._event(d.job, served, "internal") for d in group]
                continue
            predictions, images_NHW3 = found
            self._answer(served, group, predictions, answers)
            if self._rules.watched:
                events += self._watch(served, group, predictions, fingerprints(images_NHW3))
        if events:
            self._record(events)
        return [Refusal("internal") if answer is None else answer for answer in answers]

    def warm_up(self) -> None:
        """Decode one picture of each usual format: Pillow loads its plugins on first use."""
        for kind in ("PNG", "JPEG"):
            buffer = io.BytesIO()
            Image.new("RGB", (8, 8)).save(buffer, kind)
            decode_image(buffer.getvalue(), 8, 8, max_pixels=self._rules.max_pixels)

    def record_refused(self, job: Job[Answer], code: str) -> None:
        """Record a job that got no prediction."""
        served = job.snapshot.choose(job.domain, job.client)
        self._record([self._event(job, served, code)])

    def record_shadow(self, shadow: Served, seen: Sequence[Seen], predictions: Predictions) -> None:
        """Record what a shadow would have answered."""
        rows = _rows(predictions)
        self._record(
            [
                self._event(s.job, shadow, OK, s.digest, s.fingerprint, row)
                for s, row in zip(seen, rows, strict=True)
            ]
        )

    def _decoded(
        self,
        jobs: Sequence[Job[Answer]],
        answers: list[Answer | Refusal | None],
        events: list[Recorded],
    ) -> Sequence[tuple[Served, list[_Decoded]]]:
        """Pictures grouped by the bundle that answers them; bad ones are refused in `answers`."""
        groups: dict[str, tuple[Served, list[_Decoded]]] = {}
        for place, job in enumerate(jobs):
            served = job.snapshot.choose(job.domain, job.client)
            try:
                decoded = _Decoded(place, job, self._picture(job, served))
            except InputError as error:
                code = getattr(error, "code", "invalid_image")
                answers[place] = Refusal(code, error.message, hint=error.hint)
                events.append(self._event(job, served, code, _digest(job.data)))
            else:
                groups.setdefault(served.version, (served, []))[1].append(decoded)
        return list(groups.values())

    def _picture(self, job: Job[Answer], served: Served) -> ImageArray:
        """The pixels of a job."""
        if not isinstance(job.data, bytes):
            return job.data
        spec, rules = served.model.bundle.input, self._rules
        return decode_image(
            job.data, spec.height, spec.width, max_pixels=rules.max_pixels, max_s=rules.decode_s
        )

    def _predict(
        self, served: Served, group: Sequence[_Decoded]
    ) -> tuple[Predictions, ImageArray] | None:
        """One run of one bundle; when it fails, only its own images are `internal`."""
        began = time.perf_counter()
        try:  # pixels of the live bundle's size do not fit a canary of another size
            images_NHW3 = np.stack([decoded.image_HW3 for decoded in group])
            predictions = served.model.predict(images_NHW3)
            if not np.isfinite(predictions.confidence_N).all():
                raise FloatingPointError("the model answers NaN")
        except Exception:  # a broken canary must not take the live bundle's answers with it
            log.exception("bundle %s failed on %d images", served.version, len(group))
            return None
        self._metrics.ran(served.version, len(group), time.perf_counter() - began)
        return predictions, images_NHW3

    def _answer(
        self,
        served: Served,
        group: Sequence[_Decoded],
        predictions: Predictions,
        answers: list[Answer | Refusal | None],
    ) -> None:
        """Answers of one run."""
        bundle, now = served.model.bundle, time.perf_counter()
        classes, thresholds = bundle.classes, self._rules.abstain_below
        probabilities_NC = predictions.probabilities_NC
        best = np.argsort(-probabilities_NC, axis=1, kind="stable")[:, :TOP].tolist()
        rows = zip(
            group,
            probabilities_NC.tolist(),
            best,
            predictions.class_N.tolist(),
            predictions.confidence_N.tolist(),
            strict=True,
        )
        for (place, job, _), p, order, class_index, confidence in rows:
            values = prediction_values(
                request_id=job.request_id,
                model=bundle.model,
                version=served.version,
                domain=job.domain,
                class_name=classes[class_index],
                confidence=confidence,
                abstain=confidence < thresholds.get(job.domain, bundle.abstain_below),
                top=[(classes[i], p[i]) for i in order],
                latency_ms=round(1000 * (now - job.started), 3),
            )
            answers[place] = Answer(orjson.dumps(values), served)

    def _watch(
        self,
        served: Served,
        group: Sequence[_Decoded],
        predictions: Predictions,
        images: Sequence[Fingerprint],
    ) -> list[Recorded]:
        """Events of one run; what was answered in time is shown to the shadow."""
        events, seen, classes = [], [], served.model.bundle.classes
        for (_, job, image_HW3), row, image in zip(group, _rows(predictions), images, strict=True):
            digest = _digest(job.data)
            if job.expired:
                events.append(self._event(job, served, "deadline_exceeded", digest, image))
                continue
            events.append(self._event(job, served, OK, digest, image, row))
            if job.snapshot.shadow is not None:
                seen.append(Seen(job, image_HW3, image, digest, classes[row[0]]))
        if seen:
            self._show(seen)
        return events

    def _event(
        self,
        job: Job[Answer],
        served: Served,
        outcome: str,
        digest: str = "",
        image: Fingerprint = NOT_SEEN,
        scores: tuple[int, float, float, float] = (-1, 0.0, 0.0, 0.0),
    ) -> Recorded:
        class_index, confidence, margin, novelty = scores
        dhash, mean, spread = image
        event = Event(
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
        keep = job.capture and outcome == OK and served.role != "shadow"
        return event, job.data if keep and isinstance(job.data, bytes) else None


def _rows(predictions: Predictions) -> list[tuple[int, float, float, float]]:
    """Class, confidence, margin and novelty of each image as plain numbers."""
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
