"""The shadow: a second bundle that sees a sample of the pictures and answers nobody.

It has a thread and a short queue of its own. The inference thread only appends to the queue, so no
caller ever waits for the shadow, and under steady load it still sees its share; what does not fit
the queue is counted as `behind`.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from redshank.infer import Predictions

from .metrics import Metrics
from .observe import Seen
from .swap import Served

MOST_WAITING = 64
"""Pictures that wait for the shadow at most; they are small, decoded ones."""
BATCH = 8
log = logging.getLogger("redshank.serving")
Record = Callable[[Served, Sequence[Seen], Predictions], None]


class ShadowRunner:
    """Runs shadows behind the answers.

    Args:
        record: takes what a shadow would have answered.
        metrics: the worker's series.
        share: share of the pictures that a shadow sees, in [0, 1]; chosen by the digest of the
            image, so that every worker and every version chooses alike.
    """

    def __init__(self, record: Record, metrics: Metrics, *, share: float) -> None:
        self._record, self._metrics = record, metrics
        self._below = round(share * 2**32)
        self._queue: deque[tuple[Served, Seen]] = deque()
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what is queued."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def offer(self, seen: Sequence[Seen]) -> None:
        """Take a sample of what was answered; returns at once."""
        shadow = seen[0].job.snapshot.shadow if seen else None
        if shadow is None:
            return
        spec = shadow.model.bundle.input
        for one in seen:
            if int(one.digest[:8], 16) >= self._below:
                continue
            if one.image_HW3.shape[:2] != (spec.height, spec.width):
                self._metrics.shadow.labels(shadow.version, "unfit").inc()
            elif len(self._queue) >= MOST_WAITING:
                self._metrics.shadow.labels(shadow.version, "behind").inc()
            else:
                self._queue.append((shadow, one))
        if self._queue:
            self._wake.set()

    def _run(self) -> None:
        while not (self._stopped and not self._queue):
            self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                for _, pairs in groupby(batch, key=lambda pair: pair[0].version):
                    same = list(pairs)
                    self._look(same[0][0], [seen for _, seen in same])

    def _look(self, shadow: Served, seen: Sequence[Seen]) -> None:
        """Predict, count agreement with the answers given, and record events."""
        try:
            predictions = shadow.model.predict(np.stack([one.image_HW3 for one in seen]))
            classes = shadow.model.bundle.classes
            for one, index in zip(seen, predictions.class_N.tolist(), strict=True):
                agrees = str(classes[index] == one.class_name).lower()
                self._metrics.shadow.labels(shadow.version, agrees).inc()
            self._record(shadow, seen, predictions)
        except Exception:  # a shadow that falls over costs nobody an answer
            self._metrics.shadow.labels(shadow.version, "failed").inc(len(seen))
            log.exception("the shadow %s failed on %d images", shadow.version, len(seen))
