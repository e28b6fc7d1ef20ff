from __future__ import annotations

import numpy as np
import pytest

from benchmarks.monitor_fleet import ks_p
from benchmarks.monitor_pools import Pool
from benchmarks.monitor_streams import (
    first_alarms,
    is_within,
    reference_null,
    stacked,
    upper_bound,
)
from monitoring.scores import NUM_BINS
from tests.monitoring.streams import HARMED, HEALTHY, draw


def test_bounds_of_a_rate_are_clopper_and_pearsons() -> None:
    assert upper_bound(0, 200) == pytest.approx(1 - 0.05 ** (1 / 200), rel=1e-6)
    assert upper_bound(7, 200) == pytest.approx(0.0648, abs=2e-4)
    assert upper_bound(200, 200) == pytest.approx(1.0)
    assert is_within(10, 200, 0.05)
    assert is_within(0, 10, 0.001)
    assert not is_within(25, 200, 0.05)


def test_a_null_with_fewer_scores_is_filled_up_and_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    few = np.r_[HEALTHY[:19], np.zeros(11)] * 500
    nulls = [reference_null(c, scenes=500, alpha=0.05, margin=0.0) for c in (HEALTHY * 500, few)]
    assert len(nulls[0].names) > len(nulls[1].names)
    ticks = [draw(rng, HARMED, 5, 2) for _ in range(60)]
    together = first_alarms(nulls, ticks, alpha=0.05, period=200)
    for r, null in enumerate(nulls):
        alone = first_alarms(
            [null], [counts[r : r + 1] for counts in ticks], alpha=0.05, period=200
        )
        assert alone.drift[0] == together.drift[r] > 0
        assert alone.degraded[0] == together.degraded[r]
    assert stacked(nulls).weights.sum(axis=1) == pytest.approx([n.weights.sum() for n in nulls])


def test_a_pool_counts_what_was_drawn() -> None:
    pool = Pool(
        content="mnist",
        kind="home",
        severity=0.0,
        label_N=np.array([0, 1, 2]),
        class_N=np.array([0, 1, 1]),
        confidence_N=np.array([0.999, 0.2, 0.52]),
        novelty_N=np.array([0.0, 0.5, 0.99]),
    )
    assert pool.accuracy == pytest.approx(2 / 3)
    counts = pool.counts(np.array([[0, 0, 2], [1, 1, 1]]))
    assert counts.shape == (2, NUM_BINS)
    assert counts[0, 18] == 2
    assert counts[0, 19] == 2  # novelty 0
    assert counts[0, -1] == 1
    assert counts[1, 0] == counts[1, 19 + 5] == 3


def test_the_yardsticks_p_value_is_uniform_enough() -> None:
    rng = np.random.default_rng(2)
    p = [ks_p(rng.random(80), rng.random(300)) for _ in range(400)]
    assert np.mean(np.array(p) < 0.05) < 0.08
    assert ks_p(rng.random(80), rng.random(300) + 0.4) < 1e-6
