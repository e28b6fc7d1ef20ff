"""What labels say about one stream: a test of its accuracy by the engine that watches confidence.

The null is "of the stream's answers at least m are right", where m is what the bundle's own
labelled images promise: a lower confidence bound of their accuracy, less the margin. An answer is
a score of 1 when it is right, else 0, and the Shiryaev-Roberts e-detector bets against m. Its
ticks are weeks of labelling, R of them touch a budget period, and it alarms at R / alpha. Inside a
week the evidence counts label by label: that is a martingale too, so looking early costs nothing.

It needs answers that were chosen without knowing whether they are right: a sample (`redshank label
queue`), or all of them. The order inside a week does not matter, near-duplicate frames share the
weight 1, and a correction changes the row it corrects, so that the state is a function of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from redshank.cells import FloatArray
from redshank.store.monitor_rows import Evidence, LabelledAnswer

from .clopper_pearson import interval
from .edetector import EDetector, threshold
from .scores import NUM_BETS, Null, lower_bound

LABELLED_SHARE = 0.2
"""Share of alpha that is set aside for the labelled test, whether or not labels ever come; the
label-free detectors and their bounds have the rest."""
LABELLED_DETECTION_SHARE = 0.5
"""Part of it that the evidence may spend; the rest covers an error of the promise's bound."""
WEEK_S = 7 * 86_400.0
"""Length of a tick of the labelled test, by the time of labelling."""
CONFIRMS = 20.0
"""Evidence from which labels confirm or refute an alarm that is open: wrong at most once in 20."""
REFUTED_LOSS = 0.1
"""Loss of accuracy, as a ratio, that labels must rule out to refute an alarm of harm."""
FRESH_S = WEEK_S
"""How old a labelled answer may be to refute an alarm."""
HEADROOM = 1e3
"""Evidence is capped at so many times the threshold, so that labels can unsay what labels said."""
RIGHT = np.array([1.0, 0.0])
"""Score of the two bins: right answers, wrong answers."""


@dataclass(frozen=True)
class Promise:
    """Accuracy that the bundle's labelled images let people expect of a site."""

    accuracy: float
    """Of those images themselves."""
    images: int
    bound: float
    """What a site is held to, in (0, 1)."""


@dataclass(frozen=True)
class Seen:
    """Labelled answers summed up; near-duplicate frames weigh 1 together."""

    frames: int
    scenes: float
    right: float
    """Scenes' worth of right answers."""

    @property
    def accuracy(self) -> float:
        """Share of right answers; NaN when there is none."""
        return self.right / self.scenes if self.scenes > 0 else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy (Clopper-Pearson), for one look at it."""
        return interval(self.right, self.scenes)

    @property
    def counts(self) -> FloatArray:
        """Right and wrong, as the detector takes them."""
        return np.array([self.right, self.scenes - self.right])


def promise_of(labelled_CCZ: FloatArray, *, delta: float, margin: float) -> Promise | None:
    """Promise of a bundle's labelled counts [true class, predicted class, confidence bin].

    Args:
        labelled_CCZ: held-out images, where training held domains out, else validation images.
        delta: probability that the bound is wrong, in (0, 1).
        margin: loss of accuracy that does not matter, as a ratio.

    Returns:
        None without labelled images, or when they promise nothing.
    """
    if labelled_CCZ.ndim != 3 or not labelled_CCZ.any():
        return None
    images = float(labelled_CCZ.sum())
    right = float(np.trace(labelled_CCZ.sum(axis=2)))
    counts = np.array([right, images - right])
    lower = lower_bound(RIGHT, counts, scenes=images, delta=delta)
    bound = min(lower - margin, 1 - 1e-3)
    return Promise(right / images, round(images), bound) if bound > 0 else None


def null_of(score_B: FloatArray, bound: float) -> Null:
    """The null "the mean of a 0/1 score is at least `bound`", with the engine's seven bets."""
    bets_K = 0.9 / (1 - bound) * 2.0 ** -np.arange(NUM_BETS)
    log_bets_KB = np.log1p(bets_K[:, None] * (bound - score_B)[None, :])
    one = np.ones(1)
    return Null(
        names=("right answers",),
        groups=("labels",),
        weights=one,
        scores=score_B[None],
        reference_means=one * bound,
        bounds=one * bound,
        log_bets=log_bets_KB[None],
    )


def weeks_of(period_s: float) -> int:
    """How many weeks of labelling a budget period may touch."""
    return math.ceil(period_s / WEEK_S) + 1


class Labelled:
    """The labelled answers of one stream, and the evidence that they are worse than promised.

    Args:
        promise: of the bundle; None: accuracy is counted, nothing is tested.
        period_s: budget period.
        alpha: false alarms that the test may raise in a period.
    """

    def __init__(self, promise: Promise | None, *, period_s: float, alpha: float) -> None:
        self.promise = promise
        self.strictness = 0.0
        """log10 of what the promise of the whole fleet asks beyond the threshold."""
        self._threshold = threshold(weeks_of(period_s), alpha)
        self.take(())

    def take(self, answers: Iterable[LabelledAnswer]) -> None:
        """Be what these answers make of it; what was taken before is forgotten."""
        self.answers = tuple(answers)
        self._received_N = np.array([a.received_s for a in self.answers])
        self._weight_N = np.array([a.weight for a in self.answers])
        self._right_N = np.array([a.weight * a.is_right for a in self.answers])
        self._week_N = np.array([a.labelled_s // WEEK_S for a in self.answers], dtype=np.int64)
        self._detector: EDetector | None = None
        if self.promise is None or not self.answers:
            return
        most = HEADROOM * self._threshold
        self._detector = EDetector(null_of(RIGHT, self.promise.bound), highest=most)
        for week in np.unique(self._week_N):
            self._detector.update(self._sum(self._week_N == week).counts, int(week))

    def changed_by(self, answers: Sequence[LabelledAnswer]) -> tuple[LabelledAnswer, ...]:
        """All answers, the given ones in place of those of the same image."""
        new = {answer.image_sha256: answer for answer in answers}
        kept = [a for a in self.answers if a.image_sha256 not in new]
        return tuple(sorted((*kept, *new.values()), key=lambda a: (a.seq, a.image_sha256)))

    def since(self, at_s: float) -> Seen:
        """Labelled answers to images that came at or after a time."""
        return self._sum(self._received_N >= at_s)

    def evidence(self) -> Evidence | None:
        """Evidence and threshold in log10; None without a test or without labels."""
        if self._detector is None or not self._weight_N.any():
            return None
        found = math.log10(max(float(self._detector.evidence), 1.0))
        return Evidence(found, found, math.log10(self._threshold) + self.strictness)

    def onset_s(self) -> float:
        """When the first answer came that was labelled in or after the week of the change."""
        week = -1 if self._detector is None else int(self._detector.onset())
        return float(self._received_N[self._week_N >= week].min())

    def confirms(self, seen: Seen) -> bool:
        """Whether these answers, on their own, show less than the promise."""
        return self.promise is not None and _e_value(null_of(RIGHT, self.promise.bound), seen)

    def refutes(self, seen: Seen) -> bool:
        """Whether these answers rule out a loss of `REFUTED_LOSS` against the reference."""
        least = 0.0 if self.promise is None else self.promise.accuracy - REFUTED_LOSS
        return 0 < least < 1 and _e_value(null_of(1 - RIGHT, 1 - least), seen)

    def refuted_since(self, onset_s: float, *, now_s: float) -> bool:
        """Whether fresh labelled answers since the onset of an alarm refute its harm."""
        return self.refutes(self.since(max(onset_s, now_s - FRESH_S)))

    def memory(self) -> dict[str, Any] | None:
        """State of the test as JSON values, None without a test or without labels."""
        if self._detector is None:
            return None
        return {"frames": len(self.answers), **self._detector.state()}

    def _sum(self, chosen_N: Any) -> Seen:
        return Seen(
            int((chosen_N & (self._weight_N > 0)).sum()),
            float(self._weight_N[chosen_N].sum()),
            float(self._right_N[chosen_N].sum()),
        )


def _e_value(null: Null, seen: Seen) -> bool:
    log_wealth_K = null.log_bets[0] @ seen.counts
    return bool(np.logaddexp.reduce(log_wealth_K) - math.log(NUM_BETS) >= math.log(CONFIRMS))
