from __future__ import annotations

import numpy as np
import pytest

from monitoring.class_mix import PRIOR_SCENES, Split, class_confidence, estimate_mix, split_drop
from redshank.cells import FloatArray, IntArray, cell_counts, mean_confidence

CLASSES = 5
SPREAD_C = np.array([0.03, 0.04, 0.05, 0.25, 0.35])  # classes 3 and 4 are hard
EVEN = np.full(CLASSES, 1 / CLASSES)


def predictions(
    rng: np.random.Generator, mix_C: FloatArray, n: int, blur: float = 1.0
) -> tuple[IntArray, IntArray, FloatArray]:
    """True class, predicted class and confidence; `blur` makes every class less confident."""
    true_N = rng.choice(CLASSES, size=n, p=mix_C)
    confidence_N = 1 - np.minimum(rng.exponential(SPREAD_C[true_N] * blur), 0.75)
    wrong_N = rng.random(n) > confidence_N
    predicted_N = np.where(wrong_N, rng.integers(0, CLASSES, n), true_N)
    return true_N, predicted_N, confidence_N


def observed(rng: np.random.Generator, mix_C: FloatArray, blur: float = 1.0) -> FloatArray:
    _, predicted_N, confidence_N = predictions(rng, mix_C, 3000, blur)
    return cell_counts(predicted_N, confidence_N, num_classes=CLASSES)


@pytest.fixture
def labelled() -> FloatArray:
    rng = np.random.default_rng(0)
    true_N, predicted_N, confidence_N = predictions(rng, EVEN, 5000)
    return np.stack(
        [
            cell_counts(predicted_N[true_N == c], confidence_N[true_N == c], num_classes=CLASSES)
            for c in range(CLASSES)
        ]
    )


HARD = np.array([0.05, 0.05, 0.1, 0.4, 0.4])


def test_em_recovers_a_mix_it_never_saw(labelled: FloatArray) -> None:
    mix = estimate_mix(labelled, observed(np.random.default_rng(1), HARD))
    assert np.abs(mix - HARD).sum() / 2 < 0.05
    assert mix.sum() == pytest.approx(1.0)


def test_em_agrees_with_a_naive_loop(labelled: FloatArray) -> None:
    counts = observed(np.random.default_rng(2), HARD)
    naive = labelled.sum(axis=(1, 2)) + 0.05
    naive = prior = naive / naive.sum()
    for _ in range(30):
        expected = PRIOR_SCENES * prior
        for p in range(CLASSES):
            for z in range(counts.shape[1]):
                joint = np.array(
                    [
                        naive[y] * (labelled[y, p, z] + 0.05) / (labelled[y] + 0.05).sum()
                        for y in range(CLASSES)
                    ]
                )
                expected = expected + counts[p, z] * joint / joint.sum()
        naive = expected / expected.sum()
    np.testing.assert_allclose(estimate_mix(labelled, counts), naive, rtol=1e-9)


def test_more_hard_classes_are_mix_and_worse_images_are_look(labelled: FloatArray) -> None:
    rng = np.random.default_rng(3)
    reference = observed(rng, EVEN)
    hard = split_drop(labelled, reference, observed(rng, HARD))
    worse = split_drop(labelled, reference, observed(rng, EVEN, blur=2.0))
    still = split_drop(labelled, reference, observed(rng, EVEN))
    assert hard is not None
    assert worse is not None
    assert still is not None
    assert hard.cause == "mix"
    assert abs(hard.look) < 0.2 * hard.mix
    assert worse.cause == "look"
    assert abs(worse.mix) < 0.4 * worse.look
    assert abs(still.mix) + abs(still.look) < 0.015


def test_parts_add_up_to_the_drop(labelled: FloatArray) -> None:
    rng = np.random.default_rng(4)
    reference, now = observed(rng, EVEN), observed(rng, HARD, blur=1.5)
    split = split_drop(labelled, reference, now)
    assert split is not None
    assert split.cause == "both"
    drop = mean_confidence(reference) - mean_confidence(now)
    assert split.mix + split.look == pytest.approx(drop)


def test_without_labels_there_is_no_split(labelled: FloatArray) -> None:
    counts = observed(np.random.default_rng(5), EVEN)
    assert split_drop(np.zeros_like(labelled), counts, counts) is None
    assert split_drop(labelled, counts, np.zeros_like(counts)) is None


def test_a_class_without_labels_takes_the_overall_confidence(labelled: FloatArray) -> None:
    labelled[2] = 0.0
    confidence = class_confidence(labelled)
    assert confidence[2] == pytest.approx(mean_confidence(labelled.sum(axis=(0, 1))))
    assert Split(mix=-0.01, look=0.05).cause == "look"
