"""Accuracy without labels, the part that a bundle carries: statistics of answers, and a map.

Export corrupts its labelled images in many ways and learns how three statistics of a pool of
answers go with the pool's true accuracy; the monitor applies the map to the answers of a site. The
statistics are functions of the counts that it keeps anyway (`redshank/cells.py`), and none of them
is about which classes were predicted, so that another mix of classes does little to them.

Shapes: P labelled pools, S statistics, W = S + 1 weights, Z confidence bins, Q novelty bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from redshank.cells import CONFIDENCE_MIDPOINTS, NOVELTY_MIDPOINTS, FloatArray

STATISTICS = ("mean confidence", "mean novelty rank", "share beyond the 95 % novelty quantile")
"""All as log odds."""
LEAST_SHARE = 0.005
"""Shares are cut at this and one minus this: a small pool cannot tell them from 0 and 1."""


@dataclass(frozen=True)
class AccuracyPools:
    """What labelled, corrupted images taught about one model."""

    statistics_PS: FloatArray
    """`pool_statistics` of each pool."""
    true_P: FloatArray
    """Its accuracy, in [0, 1]."""
    left_out_P: FloatArray
    """Its accuracy by a map that was fitted without the pool's family of corruptions."""
    weights_W: FloatArray
    """The map: log odds of accuracy = weights[0] + statistics @ weights[1:]."""


def log_odds(share: ArrayLike) -> FloatArray:
    """log(p / (1 - p)) of shares, cut to [`LEAST_SHARE`, 1 - `LEAST_SHARE`]."""
    cut = np.clip(np.asarray(share, dtype=np.float64), LEAST_SHARE, 1 - LEAST_SHARE)
    return np.asarray(np.log(cut / (1 - cut)))


def pool_statistics(bins_Z: FloatArray, novelty_Q: FloatArray) -> FloatArray:
    """`STATISTICS` [..., S] of pools.

    Args:
        bins_Z: answers by confidence bin [..., Z], any weights; not empty.
        novelty_Q: the same answers by novelty bin [..., Q].
    """
    confidence = _mean(bins_Z, CONFIDENCE_MIDPOINTS)
    novelty = _mean(novelty_Q, NOVELTY_MIDPOINTS)
    beyond = novelty_Q[..., -1] / novelty_Q.sum(axis=-1)
    return np.stack([log_odds(share) for share in (confidence, novelty, beyond)], axis=-1)


def mapped_accuracy(weights_W: FloatArray, statistics_S: FloatArray) -> FloatArray:
    """Estimated accuracy [...] of statistics [..., S], in (0, 1)."""
    return np.asarray(1 / (1 + np.exp(-(weights_W[0] + statistics_S @ weights_W[1:]))))


def _mean(counts: FloatArray, midpoints: tuple[float, ...]) -> FloatArray:
    return np.asarray(counts @ np.asarray(midpoints) / counts.sum(axis=-1))
