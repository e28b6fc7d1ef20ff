"""Streams drawn from pools, and our detector on many of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from monitoring.edetector import EDetector, threshold
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
    bets_RSKB = np.zeros((len(nulls), most, NUM_BETS, NUM_BINS))
    weight_RS = np.zeros((len(nulls), most))
    for r, null in enumerate(nulls):
        bets_RSKB[r, : len(null.names)] = null.log_bets
        weight_RS[r, : len(null.names)] = null.weights
    empty = np.zeros((len(nulls), most))
    # the first score is mean confidence in every null; the others' names differ by stream
    groups = ("confidence", *["others"] * (most - 1))
    return Null(groups, groups, weight_RS, empty, empty, empty, bets_RSKB)


def first_alarms(
    nulls: Sequence[Null] | Null, ticks: Iterable[FloatArray], *, alpha: float, period: int = TICKS
) -> FirstAlarms:
    """Run the e-detector over counts [R, B] of one tick after the other."""
    null = nulls if isinstance(nulls, Null) else stacked(nulls)
    line = threshold(period, DETECTION_SHARE * alpha)
    detector: EDetector | None = None
    drift_R = degraded_R = np.zeros(0, dtype=np.int64)
    for tick, counts_RB in enumerate(ticks):
        if detector is None:
            detector = EDetector(null, streams=(len(counts_RB),))
            drift_R, degraded_R = (np.full(len(counts_RB), -1) for _ in range(2))
        detector.update(counts_RB, tick)
        drift_R[(drift_R < 0) & (detector.evidence >= line)] = tick
        degraded_R[(degraded_R < 0) & (detector.evidence_of("confidence") >= line)] = tick
    return FirstAlarms(drift_R, degraded_R)


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
