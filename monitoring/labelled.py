"""What labels say about one stream: a test of its accuracy by the engine that watches confidence.

The null is "of the stream's answers at least mu less the margin are right", where mu is the
accuracy that the bundle's own labelled images stand for. They are a sample: every mu that they
leave open is tested, at the price that they themselves put on it, and the least evidence counts
(see `reference_doubt`, whose proof holds here word by word). An answer is a score of 1 when it is
right, else 0. The e-detector's ticks are weeks of labelling, R of them touch a budget period, and
it alarms at R / alpha. Inside a week the evidence counts label by label: that is a martingale too,
so looking early costs nothing.

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
from .reference_doubt import candidates, lowest_mean, prices_of
from .scores import NUM_BETS, Null

LABELLED_SHARE = 0.2
"""Share of alpha that is set aside for the labelled test, whether or not labels ever come; the
label-free detectors and their bounds have the rest."""
LABELLED_DETECTION_SHARE = 0.75
"""Part of it that the evidence may spend; the rest covers accuracies that are not tested."""
WEEK_S = 7 * 86_400.0
"""Length of a tick of the labelled test, by the time of labelling."""
CONFIRMS = 20.0
"""Evidence from which labels confirm or refute an alarm that is open: wrong at most once in 20."""
REFUTED_LOSS = 0.1
"""Loss of accuracy, as a ratio, that labels must rule out to refute an alarm of harm."""
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
    held_F: FloatArray
    """Accuracies that a site may be held to, lowest first, each in (0, 1)."""
    prices_F: FloatArray
    """What the evidence against each is multiplied by."""

    @property
    def bound(self) -> float:
        """The least that a site is held to."""
        return float(self.held_F[0])


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
        delta: probability that the true accuracy is none of those that are tested, in (0, 1).
        margin: loss of accuracy that does not matter, as a ratio.

    Returns:
        None without labelled images, or when they promise nothing.
    """
    if labelled_CCZ.ndim != 3 or not labelled_CCZ.any():
        return None
    images = float(labelled_CCZ.sum())
    right = float(np.trace(labelled_CCZ.sum(axis=2)))
    p_B = np.array([right, images - right]) / images
    lowest = lowest_mean(RIGHT, p_B, scenes=images, delta=delta, least=0.0)
    mean_F = candidates(RIGHT, p_B, scenes=images, lowest=lowest)
    held_F = np.minimum(mean_F - margin, 1 - 1e-3)
    if held_F[0] <= 0:
        return None
    prices_F = prices_of(mean_F, RIGHT, p_B, scenes=images, least=0.0)
    return Promise(right / images, round(images), held_F, prices_F)


def log_bets(score_B: FloatArray, bounds_F: FloatArray) -> FloatArray:
    """Gains [F, K, B] of the engine's bets against "the mean of a 0/1 score is at least m"."""
    bets_FK = 0.9 / (1 - bounds_F)[:, None] * 2.0 ** -np.arange(NUM_BETS)
    gap_FB = bounds_F[:, None] - score_B
    return np.asarray(np.log1p(bets_FK[:, :, None] * gap_FB[:, None, :]))


def null_of(held_F: FloatArray) -> Null:
    """The nulls "at least so many answers are right", one a stream of the engine."""
    one = np.ones(1)
    return Null(
        names=("right answers",),
        groups=("labels",),
        weights=one,
        scores=RIGHT[None],
        reference_means=held_F[:, None],
        bounds=held_F[:, None],
        log_bets=log_bets(RIGHT, held_F)[:, None],
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
        held_F = self.promise.held_F
        self._detector = EDetector(null_of(held_F), streams=held_F.shape)
        for week in np.unique(self._week_N):
            counts_B = self._sum(self._week_N == week).counts
            self._detector.update(np.broadcast_to(counts_B, (len(held_F), 2)), int(week))

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
        found = math.log10(max(float(self._priced().min()), 1.0))
        return Evidence(found, found, math.log10(self._threshold) + self.strictness)

    def onset_s(self) -> float:
        """When the first answer came that was labelled in or after the week of the change."""
        week = -1
        if self._detector is not None:
            week = int(self._detector.onset()[self._priced().argmin()])
        return float(self._received_N[self._week_N >= week].min())

    def confirms(self, seen: Seen) -> bool:
        """Whether these answers, on their own, show less than the promise."""
        if self.promise is None:
            return False
        wealth_F = _wealth(log_bets(RIGHT, self.promise.held_F), seen)
        return bool((wealth_F * self.promise.prices_F).min() >= CONFIRMS)

    def refutes(self, seen: Seen) -> bool:
        """Whether these answers rule out a loss of `REFUTED_LOSS` against the reference."""
        return self._rules_out(seen, CONFIRMS)

    def refuted_since(self, onset_s: float, *, now_s: float) -> bool:
        """Whether fresh labelled answers since the onset of an alarm refute its harm.

        Fresh are those since the onset and, from its second week on, since the week before this one
        began. Evidence holds however often one looks only from a start that stays, so each of these
        starts is a test of its own: start k = 1, 2, ... errs at most once in 20 k (k + 1), all of
        them together once in 20, and the first one, k = 0, once in 20 too.
        """
        start = max(0, int((now_s - onset_s) // WEEK_S) - 1)
        seen = self.since(onset_s + start * WEEK_S)
        return self._rules_out(seen, CONFIRMS * max(1, start * (start + 1)))

    def memory(self) -> dict[str, Any] | None:
        """What the rows gave, as JSON values; None without a test or without labels."""
        if self._detector is None:
            return None
        return {"frames": len(self.answers), "evidence": self._priced().tolist()}

    def _rules_out(self, seen: Seen, evidence: float) -> bool:
        least = 0.0 if self.promise is None else self.promise.accuracy - REFUTED_LOSS
        if not 0 < least < 1:
            return False
        return bool(_wealth(log_bets(1 - RIGHT, np.array([1 - least])), seen)[0] >= evidence)

    def _priced(self) -> FloatArray:
        """Evidence against each accuracy that the site may be held to, times its price."""
        assert self._detector is not None
        assert self.promise is not None
        most = HEADROOM * self._threshold
        return np.minimum(self._detector.evidence * self.promise.prices_F, most)

    def _sum(self, chosen_N: Any) -> Seen:
        return Seen(
            int((chosen_N & (self._weight_N > 0)).sum()),
            float(self._weight_N[chosen_N].sum()),
            float(self._right_N[chosen_N].sum()),
        )


def _wealth(log_bets_FKB: FloatArray, seen: Seen) -> FloatArray:
    """What one unit grew to by now against each bound [F], its seven bets mixed."""
    log_wealth_FK = np.minimum(log_bets_FKB @ seen.counts, 460.0)
    return np.asarray(np.exp(log_wealth_FK).mean(axis=1))
