"""One batch: bytes -> pixels -> model -> JSON and events. Runs in the worker's inference thread.

Whatever can be done once a batch is done once a batch: sorting, conversion to Python numbers, the
time, the metrics. At a thousand small images a second that is what the service costs.
"""

from __future__ import annotations

import io
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import orjson
from PIL import Image

from redshank.errors import InputError
from redshank.http_api import prediction_values
from redshank.infer import Predictions
from redshank.preprocess import ImageArray, decode_image

from .engine import Job
from .metrics import Metrics
from .observe import Observer
from .refusal import Refusal
from .swap import Served

TOP = 3
"""Classes named in an answer."""
log = logging.getLogger("redshank.serving")


class Answer(NamedTuple):
    """What a client gets."""

    body: bytes
    """JSON of `redshank.http_api.Prediction`."""
    served: Served
    """The bundle that answered."""


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
    abstain_below: Mapping[str, float] = field(default_factory=dict)
    """Thresholds of single domains; others have the bundle's."""


class Inference:
    """Answers batches of jobs.

    Args:
        observer: told what became of each image.
        metrics: the worker's series.
        rules: limits and thresholds.
    """

    def __init__(self, observer: Observer, metrics: Metrics, rules: Rules) -> None:
        self._observer, self._metrics, self._rules = observer, metrics, rules

    def work(self, jobs: list[Job[Answer]]) -> list[Answer | Refusal]:
        """One answer a job, in order; a bad image is one refusal, not a failed batch."""
        answers: list[Answer | Refusal | None] = [None] * len(jobs)
        for served, group in self._decoded(jobs, answers):
            found = self._predict(served, group)
            if found is None:
                for decoded in group:
                    self._observer.refused(decoded.job, served, "internal")
                continue
            predictions, images_NHW3 = found
            now_s = time.perf_counter()
            self._answer(served, group, predictions, answers, now_s)
            group_jobs = [decoded.job for decoded in group]
            self._observer.answered(served, group_jobs, images_NHW3, predictions, now_s)
        return [Refusal("internal") if answer is None else answer for answer in answers]

    def warm_up(self) -> None:
        """Decode one picture of each usual format: Pillow loads its plugins on first use."""
        for kind in ("PNG", "JPEG"):
            buffer = io.BytesIO()
            Image.new("RGB", (8, 8)).save(buffer, kind)
            decode_image(buffer.getvalue(), 8, 8, max_pixels=self._rules.max_pixels)

    def refused(self, job: Job[Answer], code: str) -> None:
        """Note a job that was dropped before it got here."""
        self._observer.refused(job, job.snapshot.choose(job.domain, job.client), code)

    def _decoded(
        self, jobs: Sequence[Job[Answer]], answers: list[Answer | Refusal | None]
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
                self._observer.refused(job, served, code, was_read=True)
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
        now_s: float,
    ) -> None:
        """Answers of one run."""
        bundle = served.model.bundle
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
                latency_ms=round(1000 * (now_s - job.started), 3),
            )
            answers[place] = Answer(orjson.dumps(values), served)
