import itertools

import numpy as np
import pytest

from benchmarks.accuracy_rivals import (
    RIVALS,
    Validation,
    atc_threshold,
    average_thresholded_confidence,
    confidence_based_performance,
    difference_of_confidences,
    isotonic,
)

RNG = np.random.default_rng(0)
CONFIDENCE = RNG.uniform(0.2, 1, 4000)
CALIBRATED = Validation(CONFIDENCE, (RNG.random(4000) < CONFIDENCE).astype(float))


def best_monotone(y: list[float]) -> float:
    """Smallest squared error of any non-decreasing fit whose values are means of stretches."""
    best = np.inf
    for cuts in itertools.product([0, 1], repeat=len(y) - 1):
        parts = np.split(np.array(y), [i + 1 for i, cut in enumerate(cuts) if cut])
        means = [part.mean() for part in parts]
        if all(a <= b for a, b in itertools.pairwise(means)):
            best = min(best, sum(((p - m) ** 2).sum() for p, m in zip(parts, means, strict=True)))
    return best


@pytest.mark.parametrize("seed", range(8))
def test_isotonic_fit_against_all_possible_ones(seed: int) -> None:
    y = np.random.default_rng(seed).integers(0, 2, 9).astype(float)
    x = np.random.default_rng(seed + 50).permutation(9) / 9.0
    level, fit = isotonic(x, y)
    assert (np.diff(fit) >= 0).all()
    assert ((y[np.argsort(x)] - fit) ** 2).sum() == pytest.approx(
        best_monotone(list(y[np.argsort(x)]))
    )
    np.testing.assert_array_equal(level, np.sort(x))


def test_equal_confidences_share_one_value() -> None:
    level, fit = isotonic(np.array([0.5, 0.5, 0.9]), np.array([1.0, 0.0, 1.0]))
    np.testing.assert_array_equal(level, [0.5, 0.9])
    np.testing.assert_allclose(fit, [0.5, 1.0])


@pytest.mark.parametrize("name", RIVALS)
def test_a_calibrated_model_on_its_own_images_is_estimated_right(name: str) -> None:
    found = RIVALS[name](CALIBRATED, CONFIDENCE)
    assert found == pytest.approx(CALIBRATED.right_R.mean(), abs=0.01)


def test_doc_falls_with_confidence_and_stays_a_ratio() -> None:
    before = difference_of_confidences(CALIBRATED, CONFIDENCE)
    assert difference_of_confidences(CALIBRATED, CONFIDENCE - 0.1) == pytest.approx(before - 0.1)
    wrong = Validation(CONFIDENCE, np.zeros(4000))
    assert difference_of_confidences(wrong, CONFIDENCE - 0.1) == 0.0


def test_atc_counts_what_lies_above_the_threshold() -> None:
    validation = Validation(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 0.0, 0.0, 1.0]))
    assert 0.3 <= atc_threshold(validation) < 0.4
    assert average_thresholded_confidence(validation, np.array([0.9, 0.05])) == 0.5


def test_cbpe_unlearns_over_confidence() -> None:
    sure = Validation(CALIBRATED.confidence_R**0.2, CALIBRATED.right_R)
    found = confidence_based_performance(sure, CONFIDENCE**0.2)
    assert found == pytest.approx(CALIBRATED.right_R.mean(), abs=0.01)
