from __future__ import annotations

import numpy as np
import pytest

from redshank.infer import calibrated
from training.calibrate import expected_calibration_error, fit_temperature, mean_nll


def drawn(temperature: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose true temperature is known: labels follow softmax(logits / temperature)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (n, 5)).astype(np.float32)
    probability = calibrated(logits, temperature)
    labels = (probability.cumsum(1) > rng.random((n, 1))).argmax(1)
    return logits, labels.astype(np.int64)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_finds_the_temperature_that_made_the_labels(true: float) -> None:
    logits, labels = drawn(true)
    fitted = fit_temperature(logits, labels, fitted_on="validation")
    assert fitted.value == pytest.approx(true, rel=0.08)
    assert fitted.nll_after <= fitted.nll_before + 1e-9
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 400))
    best = min(mean_nll(logits, labels, float(t)) for t in grid)
    assert fitted.nll_after <= best + 1e-6
    assert (fitted.n, fitted.fitted_on) == (4000, "validation")


@pytest.mark.parametrize(("n", "margin"), [(30, 2.0), (300, 2.0), (3000, 4.0)])
def test_all_right_sharpens_no_further_than_so_many_images_allow(n: int, margin: float) -> None:
    rng = np.random.default_rng(2)
    logits, labels = rng.uniform(0, 1, (n, 4)).astype(np.float32), rng.integers(0, 4, n)
    logits[np.arange(n), labels] += margin
    fitted = fit_temperature(logits, labels, fitted_on="validation")
    confidence = calibrated(logits, fitted.value).max(axis=1)
    assert confidence.mean() == pytest.approx((n + 1) / (n + 2), abs=1e-4)
    assert confidence.std() > 1e-4  # there is something left to tell images by
    assert (fitted.n, fitted.fitted_on) == (n, "validation")
    assert fitted.nll_after < fitted.nll_before
    sure = fit_temperature(logits + 40 * np.eye(4)[labels], labels, fitted_on="validation")
    assert sure.value == 1.0


def test_one_error_is_enough_for_the_least_nll() -> None:
    rng = np.random.default_rng(3)
    logits, labels = rng.uniform(0, 1, (200, 4)), rng.integers(0, 4, 200)
    logits[np.arange(200), labels] += 3.0
    labels[0] = (labels[0] + 1) % 4
    fitted = fit_temperature(logits, labels, fitted_on="validation")
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 400))
    best = min(mean_nll(logits, labels, float(t)) for t in grid)
    assert fitted.nll_after <= best + 1e-6


def test_unknown_labels_are_left_out() -> None:
    logits, labels = drawn(2.0)
    half = labels.copy()
    half[::2] = -1
    fitted = fit_temperature(logits, half, fitted_on="held_out")
    expected = fit_temperature(logits[1::2], labels[1::2], fitted_on="held_out")
    assert fitted == expected


def test_too_few_labels_fit_nothing() -> None:
    logits, labels = drawn(2.0, n=19)
    fitted = fit_temperature(logits, labels, fitted_on="validation")
    assert (fitted.value, fitted.fitted_on, fitted.n) == (1.0, "none", 0)


def test_calibration_error_equals_a_loop() -> None:
    rng = np.random.default_rng(1)
    confidence, correct = rng.random(500), rng.random(500) < 0.6
    expected = 0.0
    for number in range(15):
        inside = [i for i in range(500) if min(14, int(confidence[i] * 15)) == number]
        if inside:
            gap = np.mean([confidence[i] for i in inside]) - np.mean([correct[i] for i in inside])
            expected += len(inside) / 500 * abs(gap)
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)
    assert expected_calibration_error(np.ones(3), np.ones(3, dtype=bool)) == 0.0
    with pytest.raises(ValueError, match="of no images"):
        expected_calibration_error(np.ones(0), np.ones(0, dtype=bool))
