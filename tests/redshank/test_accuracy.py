import math

import numpy as np
import pytest

from redshank.accuracy import LEAST_SHARE, log_odds, mapped_accuracy, pool_statistics
from redshank.cells import (
    CONFIDENCE_MIDPOINTS,
    cell_counts,
    confidence_bin,
    novelty_counts,
)


def test_statistics_against_plain_loops() -> None:
    rng = np.random.default_rng(0)
    confidence, novelty = rng.uniform(0.2, 1, 300), rng.beta(3, 1, 300)
    weight = rng.uniform(0.2, 1, 300)
    bins_Z = cell_counts(np.zeros(300), confidence, weight, num_classes=1)[0]
    found = pool_statistics(bins_Z, novelty_counts(novelty, weight))
    total = mean = far = 0.0
    for c, n, w in zip(confidence, novelty, weight, strict=True):
        total += w
        mean += w * CONFIDENCE_MIDPOINTS[int(confidence_bin(c))]
        far += w * (n >= 0.95)
    expected = [math.log(s / total / (1 - s / total)) for s in (mean, far)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_many_pools_at_once_are_one_after_the_other() -> None:
    rng = np.random.default_rng(1)
    bins_NZ, novelty_NQ = rng.random((5, 19)), rng.random((5, 11))
    together = pool_statistics(bins_NZ, novelty_NQ)
    for n in range(5):
        np.testing.assert_allclose(together[n], pool_statistics(bins_NZ[n], novelty_NQ[n]))


def test_shares_of_nothing_and_everything_have_finite_log_odds() -> None:
    assert log_odds([0.0])[0] == pytest.approx(-log_odds([1.0])[0])
    assert log_odds(0.0) == pytest.approx(math.log(LEAST_SHARE / (1 - LEAST_SHARE)))


def test_map_is_the_logistic_function_of_a_weighted_sum() -> None:
    weights = np.array([[0.5, 1.0, -2.0], [0.25, 0.5, 0.0]])
    found = mapped_accuracy(weights, np.array([[1.0, 0.5], [3.0, 1.0]]))
    odds = [[0.5, 0.75], [1.5, 1.75]]
    certain = mapped_accuracy(weights * 1e6, np.array([5.0, -5.0]))
    assert (certain < 1).all()
    np.testing.assert_allclose(found, [[1 / (1 + math.exp(-o)) for o in row] for row in odds])
