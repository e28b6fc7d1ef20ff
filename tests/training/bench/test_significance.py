from __future__ import annotations

import itertools

import numpy as np
import pytest

from training.bench.significance import compare, holm, sign_flip_p, subset_mean_interval


def naive_p(values: list[float]) -> float:
    seen = abs(sum(values))
    patterns = list(itertools.product((-1, 1), repeat=len(values)))
    extreme = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True))) >= seen - 1e-12
        for signs in patterns
    ]
    return sum(extreme) / len(patterns)


@pytest.mark.parametrize("values", [[1.0], [1.0, -2.0, 0.5], [0.3, 0.3, 0.3, -0.1, 0.0, 2.0]])
def test_sign_flip_looks_at_every_pattern(values: list[float]) -> None:
    assert sign_flip_p(np.array(values)) == pytest.approx(naive_p(values))


def test_smallest_p_is_two_of_all_patterns() -> None:
    assert sign_flip_p(np.array([0.1, 0.2, 0.3, 0.1, 0.4])) == 2 / 32
    assert sign_flip_p(np.array([])) is None
    assert sign_flip_p(np.zeros(4)) == 1.0


def test_interval_inverts_the_test() -> None:
    """A shift inside the interval is not refused at 5 %, one outside is."""
    value_N = np.random.default_rng(3).normal(0.5, 1.0, 11)
    low, high = subset_mean_interval(value_N, level=0.95)
    assert low is not None
    assert high is not None
    for shift, inside in ((low, True), (high, True), (low, False), (high, False)):
        step = 1e-6 * (1 if (shift == low) == inside else -1)
        p = sign_flip_p(value_N - (shift + step))
        assert p is not None
        assert (p > 0.05) == inside


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        low, high = subset_mean_interval(rng.laplace(1.0, 2.0, 8), level=0.9)
        assert low is not None
        assert high is not None
        covered += low <= 1.0 <= high
    assert 340 <= covered <= 380  # 0.9 of 400, four standard deviations below


def test_five_differences_allow_no_interval_at_95_percent() -> None:
    assert subset_mean_interval(np.arange(5.0), level=0.95) == (None, None)
    assert subset_mean_interval(np.arange(6.0), level=0.95) != (None, None)


def test_many_differences_are_sampled() -> None:
    rng = np.random.default_rng(1)
    still = compare(list(rng.normal(0.0, 1.0, 40)))
    moved = compare(list(rng.normal(2.0, 1.0, 40)))
    assert still.p is not None
    assert still.p > 0.05
    assert moved.p is not None
    assert moved.p < 1e-4
    assert moved.low is not None
    assert 1.0 < moved.low < moved.mean
    assert moved.n == 40
    assert moved.better >= 35


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, None, 0.03]) == [0.03, 0.06, None, 0.06]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
