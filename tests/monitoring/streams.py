"""Simulated cell counts of a still or harmed site, shared by the tests of the statistics."""

from __future__ import annotations

from math import comb

import numpy as np

from monitoring.edetector import EDetector, threshold
from monitoring.scores import NUM_BINS, Null, build_null
from redshank.cells import NUM_CONFIDENCE_BINS, FloatArray, confidence_bin, novelty_bin

TICKS, ALPHA, SCENES_PER_TICK = 200, 0.05, 10
EXACT = 1e12  # a reference of so many scenes is as good as known


def distribution(spread: float, novelty: float = 1.0) -> FloatArray:
    """Bin probabilities of a classifier whose 1 - confidence is exponential, and of novelty."""
    rng = np.random.default_rng(99)
    confidence = 1 - np.minimum(rng.exponential(spread, 200_000), 0.85)
    rank = rng.beta(novelty, 1.0, 200_000)
    return np.concatenate(
        [
            np.bincount(confidence_bin(confidence), minlength=NUM_CONFIDENCE_BINS) / 200_000,
            np.bincount(novelty_bin(rank), minlength=NUM_BINS - NUM_CONFIDENCE_BINS) / 200_000,
        ]
    )


HEALTHY, HARMED, NOVEL = distribution(0.06), distribution(0.2), distribution(0.06, 5.0)


def draw(rng: np.random.Generator, p_B: FloatArray, scenes: int, streams: int) -> FloatArray:
    """Counts [streams, B] of so many scenes."""
    return np.concatenate(
        [
            rng.multinomial(scenes, p_B[:NUM_CONFIDENCE_BINS], streams),
            rng.multinomial(scenes, p_B[NUM_CONFIDENCE_BINS:], streams),
        ],
        axis=1,
    ).astype(np.float64)


def null_of(counts_B: FloatArray, scenes: float, margin: float = 0.0) -> Null:
    null = build_null(
        counts_B, scenes=scenes, delta=ALPHA / 4, margin_confidence=margin, margin_indicator=margin
    )
    assert null is not None
    return null


def most_false_alarms(streams: int, rate: float) -> int:
    """99.9 % quantile of Binomial(streams, rate): a fair detector fails this once in 1 000."""
    cumulative = 0.0
    for k in range(streams + 1):
        cumulative += comb(streams, k) * rate**k * (1 - rate) ** (streams - k)
        if cumulative >= 0.999:
            return k
    raise AssertionError


def first_alarms(null: Null, counts_TNB: FloatArray) -> list[int]:
    """Tick of the first alarm of each stream, -1 for none."""
    detector = EDetector(null, streams=(counts_TNB.shape[1],))
    first = np.full(counts_TNB.shape[1], -1)
    for tick, counts_NB in enumerate(counts_TNB):
        detector.update(counts_NB, tick)
        alarmed = (detector.evidence >= threshold(TICKS, ALPHA)) & (first < 0)
        first[alarmed] = tick
    return [int(tick) for tick in first]
