from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest

from monitoring.reference_doubt import (
    BETS,
    CANDIDATES,
    NO_BET,
    candidates,
    evidence_against,
    lowest_mean,
    prices_of,
)
from redshank.cells import FloatArray

SCORE = np.array([0.0, 0.2, 0.7, 1.0])
SKEWED = np.array([0.05, 0.05, 0.2, 0.7])


def evidence(mean: float, p_B: FloatArray, scenes: float) -> float:
    return float(evidence_against(np.array([mean]), SCORE, p_B, scenes=scenes, least=0.0)[0])


@pytest.mark.parametrize("p_B", [SKEWED, np.array([0.9, 0.0, 0.0, 0.1]), np.full(4, 0.25)])
def test_expected_evidence_against_the_true_mean_is_one_by_enumeration(p_B: FloatArray) -> None:
    scenes, expected = 5, 0.0
    for drawn in itertools.product(range(4), repeat=scenes):
        chance = prod(p_B[list(drawn)])
        counts = np.bincount(drawn, minlength=4) / scenes
        expected += chance * evidence(float(SCORE @ p_B), counts, scenes)
    assert expected == pytest.approx(1.0)


def test_expected_evidence_is_one_for_a_reference_of_the_usual_size() -> None:
    rng = np.random.default_rng(1)
    p_B = np.array([0.01, 0.02, 0.07, 0.9])
    counts = rng.multinomial(300, p_B, 4000) / 300
    found = [evidence(float(SCORE @ p_B), row, 300) for row in counts]
    assert np.mean(found) <= 1 + 4 * np.std(found) / len(found) ** 0.5


def test_evidence_agrees_with_a_naive_loop_over_scenes() -> None:
    drawn, mean = [3, 3, 1, 2, 3, 3, 2, 0, 3], 0.6
    counts = np.bincount(drawn, minlength=4) / len(drawn)
    wealth = []
    for bet in BETS:
        fraction = min(bet / len(drawn) ** 0.5, 0.9)
        wealth.append(prod(1 + fraction * (float(SCORE[b]) - mean) for b in drawn))
    expected = NO_BET + (1 - NO_BET) * sum(wealth) / len(wealth)
    assert evidence(mean, counts, len(drawn)) == pytest.approx(expected)


def test_a_price_holds_for_every_mean_up_to_the_next_candidate() -> None:
    lowest = lowest_mean(SCORE, SKEWED, scenes=300, delta=0.001, least=0.0)
    means = candidates(SCORE, SKEWED, scenes=300, lowest=lowest)
    prices = prices_of(means, SCORE, SKEWED, scenes=300, least=0.0)
    assert len(means) == len(prices) == CANDIDATES
    assert means[0] == lowest
    assert means[-1] > float(SCORE @ SKEWED)
    for low, high, price in zip(means, [*means[1:], 1.0], prices, strict=True):
        for mean in np.linspace(low, high, 5):
            assert evidence(float(mean), SKEWED, 300) >= price - 1e-12
    assert prices[0] > 5  # three standard errors below the mean little is asked of the site


def test_a_known_reference_leaves_no_room() -> None:
    lowest = lowest_mean(SCORE, SKEWED, scenes=1e12, delta=0.001, least=0.0)
    means = candidates(SCORE, SKEWED, scenes=1e12, lowest=lowest)
    assert means[-1] - means[0] < 1e-5


@pytest.mark.parametrize("scenes", [3, 30, 300, 3000])
def test_the_lowest_mean_is_just_short_of_what_the_reference_rules_out(scenes: int) -> None:
    low = lowest_mean(SCORE, SKEWED, scenes=scenes, delta=0.01, least=0.0)
    assert 0 <= low < float(SCORE @ SKEWED)
    if low > 0:
        assert evidence(low, SKEWED, scenes) >= 100 > evidence(low * (1 + 1e-5), SKEWED, scenes)
    else:
        assert scenes == 3  # so few rule nothing out


def test_a_rare_gross_fault_does_not_fool_the_bound() -> None:
    # 99 % certain and 1 % lost: what a normal bound of a sample without a lost one misses
    rng = np.random.default_rng(2)
    p_B = np.array([0.01, 0.0, 0.0, 0.99])
    wrong = 0
    for counts in rng.multinomial(100, p_B, 2000):
        wrong += lowest_mean(SCORE, counts / 100, scenes=100, delta=0.05, least=0.0) > 0.99
    assert wrong <= 2000 * 0.05 + 3 * (2000 * 0.05 * 0.95) ** 0.5
