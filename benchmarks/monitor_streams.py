"""Streams drawn from pools, and our detector on many of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from monitoring.edetector import EDetector, threshold
from monitoring.reference_doubt import CANDIDATES, Doubt
from monitoring.scores import NUM_BETS, NUM_BINS, Null, build_null
from monitoring.stream import DETECTION_SHARE
from redshank.cells import FloatArray, IntArray

PER_TICK = 20
"""Scenes of a tick."""
TICKS = 1000
"""Ticks of a budget period: 20,000 scenes."""
KNOWN = 1e12
"""A reference of so many scenes is as good as known."""


@dataclass(frozen=True)
class FirstAlarms:
    """Tick of the first alarm of each stream [R], -1 for none."""

    drift: IntArray
    degraded: IntArray


def reference_null(
    counts_B: FloatArray, *, scenes: float, alpha: float, margin: float, plug_in: bool = False
) -> Null:
    """The relative null as the evaluator makes it, with all of alpha for this one reference.

    Args:
        counts_B: reference histogram.
        scenes: independent scenes behind it.
        alpha: false alarms allowed a period.
        margin: harmless drop of mean confidence.
        plug_in: take the reference mean for the truth, as one must not.
    """
    null = build_null(
        counts_B,
        scenes=KNOWN if plug_in else scenes,
        delta=(1 - DETECTION_SHARE) * alpha,
        margin_confidence=margin,
        margin_indicator=2 * margin,
    )
    if null is None:
        raise ValueError("the reference is degenerate")
    return null


def stacked(nulls: Sequence[Null]) -> Null:
    """One null a stream; scores that a stream's null dropped bet nothing and weigh nothing."""
    most = max(len(null.names) for null in nulls)
    bets_RSKB, slopes_RSKB = np.zeros((2, len(nulls), most, NUM_BETS, NUM_BINS))
    steps_RSKF = np.zeros((len(nulls), most, NUM_BETS, CANDIDATES))
    prices_RSF = np.ones((len(nulls), most, CANDIDATES))
    weight_RS = np.zeros((len(nulls), most))
    for r, null in enumerate(nulls):
        s = len(null.names)
        bets_RSKB[r, :s], weight_RS[r, :s] = null.log_bets, null.weights
        if null.doubt is not None:
            slopes_RSKB[r, :s], steps_RSKF[r, :s] = null.doubt.slopes, null.doubt.steps
            prices_RSF[r, :s] = null.doubt.prices
    empty = np.zeros((len(nulls), most))
    # the first score is mean confidence in every null; the others' names differ by stream
    groups = ("confidence", *["others"] * (most - 1))
    doubt = Doubt(slopes_RSKB, steps_RSKF, prices_RSF)
    return Null(groups, groups, weight_RS, empty, empty, empty, bets_RSKB, doubt)


@dataclass(frozen=True)
class Courses:
    """Evidence of each tick and stream [T, R]."""

    drift_TR: FloatArray
    degraded_TR: FloatArray

    def first_over(self, line: float) -> FirstAlarms:
        """First alarms at a threshold."""
        return FirstAlarms(*(_first_over(e, line) for e in (self.drift_TR, self.degraded_TR)))


def courses(nulls: Sequence[Null] | Null, ticks: Iterable[FloatArray]) -> Courses:
    """Run the e-detector over counts [R, B] of one tick after the other."""
    null = nulls if isinstance(nulls, Null) else stacked(nulls)
    detector: EDetector | None = None
    drift, degraded = [], []
    for tick, counts_RB in enumerate(ticks):
        if detector is None:
            detector = EDetector(null, streams=(len(counts_RB),))
        detector.update(counts_RB, tick)
        drift.append(detector.evidence)
        degraded.append(detector.evidence_of("confidence"))
    return Courses(np.array(drift), np.array(degraded))


def line_of(alpha: float, period: int = TICKS) -> float:
    """Threshold as shipped, where one reference has all of alpha."""
    return threshold(period, DETECTION_SHARE * alpha)


def first_alarms(
    nulls: Sequence[Null] | Null, ticks: Iterable[FloatArray], *, alpha: float, period: int = TICKS
) -> FirstAlarms:
    """First alarms of the e-detector as shipped."""
    return courses(nulls, ticks).first_over(line_of(alpha, period))


def _first_over(evidence_TR: FloatArray, line: float) -> IntArray:
    over_TR = evidence_TR >= line
    return np.where(over_TR.any(axis=0), over_TR.argmax(axis=0), -1)


def upper_bound(alarms: int, streams: int, level: float = 0.95) -> float:
    """Clopper-Pearson upper bound of a rate."""
    low, high = alarms / streams, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(alarms, streams, middle) > 1 - level:
            low = middle
        else:
            high = middle
    return high


def is_within(alarms: int, streams: int, rate: float) -> bool:
    """Whether so many alarms are no proof (at level .001) of a rate above the promised one."""
    return alarms == 0 or 1 - _at_most(alarms - 1, streams, rate) > 0.001


def _at_most(k: int, n: int, p: float) -> float:
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)) if 0 < p < 1 else 0.0
