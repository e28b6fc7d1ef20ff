"""Labelled pools whose accuracy is their confidence, and samples to be judged by their map."""

from __future__ import annotations

import numpy as np

from monitoring.sample import Sample
from redshank.accuracy import AccuracyPools, pool_statistics
from redshank.cells import NUM_CONFIDENCE_BINS, NUM_NOVELTY_BINS, confidence_bin


def sample(confidence: float, scenes: float = 200.0, far: float = 0.05) -> Sample:
    """Scenes of one confidence, evenly novel but for a share beyond the 95 % quantile."""
    cells = np.zeros((3, NUM_CONFIDENCE_BINS))
    cells[1, int(confidence_bin(confidence))] = scenes
    novelty = np.full(NUM_NOVELTY_BINS, scenes * (1 - far) / (NUM_NOVELTY_BINS - 1))
    novelty[-1] = scenes * far
    return Sample(scenes, cells, novelty)


def pools(error: float, *, count: int = 200, least_far: float = 0.0) -> AccuracyPools:
    """Accuracy is what confidence says; maps of other families are wrong by `error` at random.

    Both maps say the same.
    """
    rng = np.random.default_rng(0)
    made = [
        sample(confidence, far=far)
        for confidence, far in zip(
            rng.uniform(0.3, 1, count), rng.uniform(least_far, 0.6, count), strict=True
        )
    ]
    statistics = np.stack([pool_statistics(s.cells_CZ.sum(axis=0), s.novelty_Q) for s in made])
    true = 1 / (1 + np.exp(-statistics[:, 0]))
    left_out = np.clip(true + error * rng.choice([-1, 1], count), 0.01, 0.99)
    weights = np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    return AccuracyPools(statistics, true, np.column_stack([left_out, left_out]), weights)
