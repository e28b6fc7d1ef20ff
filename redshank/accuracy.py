"""Accuracy without labels, the part that a bundle carries: statistics of answers, and two maps.

Export corrupts its labelled images in many ways and learns how two statistics of a pool of answers
go with the pool's true accuracy; the monitor applies that to the answers of a site. The statistics
are functions of the counts that it keeps anyway (`redshank/cells.py`), and neither is about which
classes were predicted, so that another mix of classes does little to them.

Shapes: P labelled pools, S statistics, M maps, W = S + 1 weights, Z confidence and Q novelty bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from redshank.cells import CONFIDENCE_MIDPOINTS, FloatArray

STATISTICS = ("mean confidence", "share beyond the 95 % novelty quantile")
"""Both as log odds."""
MAPS = ((0, 1), (0,))
"""Statistics that each map uses. The first gives the estimate; both give the interval, since a
domain may be novel and easy, or familiar and hard."""
LEAST_SHARE = 0.005
"""Shares are cut at this and one minus this: a small pool cannot tell them from 0 and 1."""

MOST_ODDS = 12.0
"""Log odds at which an estimate ends: never quite 0 nor 1."""


@dataclass(frozen=True)
class AccuracyPools:
    """What labelled, corrupted images taught about one model."""

    statistics_PS: FloatArray
    """`pool_statistics` of each pool."""
    true_P: FloatArray
    """Its accuracy, in [0, 1]."""
    left_out_PM: FloatArray
    """Its accuracy by maps that were fitted without the pool's family of corruptions."""
    weights_MW: FloatArray
    """The maps: log odds of accuracy = weights[0] + statistics @ weights[1:]."""


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
    confidence = bins_Z @ np.asarray(CONFIDENCE_MIDPOINTS) / bins_Z.sum(axis=-1)
    beyond = novelty_Q[..., -1] / novelty_Q.sum(axis=-1)
    return np.stack([log_odds(confidence), log_odds(beyond)], axis=-1)


def mapped_accuracy(weights_MW: FloatArray, statistics_S: FloatArray) -> FloatArray:
    """Accuracy [..., M] by each map of statistics [..., S], in (0, 1)."""
    odds = weights_MW[:, 0] + statistics_S @ weights_MW[:, 1:].T
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -MOST_ODDS, MOST_ODDS))))
