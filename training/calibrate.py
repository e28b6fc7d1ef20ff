"""Temperature and calibration error. N images, C classes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from redshank.infer import calibrated
from redshank.run import Temperature

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]

BINS = 15
LOWEST, HIGHEST = 0.05, 20.0
"""Range of temperatures; outside it the logits are broken, not uncalibrated."""
MIN_IMAGES = 20


def mean_nll(logits_NC: Floats, label_N: Labels, temperature: float) -> float:
    """Mean negative log-likelihood of softmax(logits / temperature), in nats."""
    scaled_NC = logits_NC.astype(np.float64) / temperature
    scaled_NC -= scaled_NC.max(axis=1, keepdims=True)
    log_sum_N = np.log(np.exp(scaled_NC).sum(axis=1))
    return float((log_sum_N - scaled_NC[np.arange(len(label_N)), label_N]).mean())


def fit_temperature(logits_NC: Floats, label_N: Labels, *, fitted_on: str) -> Temperature:
    """The temperature of least NLL (Guo et al., 2017), by golden-section search over 1/T.

    The NLL is convex in 1/T, so the search finds the optimum of [`LOWEST`, `HIGHEST`]. Where every
    image is right there is none: sharper is always better, until all confidences are 1 and nothing
    can be told from them. Then see `_justified_sharpening`. Fewer than `MIN_IMAGES` labelled images
    give temperature 1, said by `fitted_on="none"`.
    """
    known = label_N >= 0
    logits_NC, label_N = logits_NC[known], label_N[known]
    if len(label_N) < MIN_IMAGES:
        return Temperature(value=1.0, fitted_on="none", n=0, nll_before=0.0, nll_after=0.0)
    if (logits_NC.argmax(axis=1) == label_N).all():
        value = _justified_sharpening(logits_NC)
    else:
        value = _least_nll(logits_NC, label_N)
    return Temperature(
        value=value,
        fitted_on=fitted_on,
        n=len(label_N),
        nll_before=mean_nll(logits_NC, label_N, 1.0),
        nll_after=mean_nll(logits_NC, label_N, value),
    )


def _least_nll(logits_NC: Floats, label_N: Labels) -> float:
    low, high = 1.0 / HIGHEST, 1.0 / LOWEST
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    while high - low > 1e-4 * low:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if mean_nll(logits_NC, label_N, 1.0 / left) < mean_nll(logits_NC, label_N, 1.0 / right):
            high = right
        else:
            low = left
    return 2.0 / (low + high)


def _justified_sharpening(logits_NC: Floats) -> float:
    """The temperature in [`LOWEST`, 1] whose mean confidence N right answers of N allow.

    That is (N + 1) / (N + 2), Laplace's rule of succession. Confidence that is higher already stays
    as it is, and it grows with 1/T, so bisection finds the place.
    """
    allowed = (len(logits_NC) + 1) / (len(logits_NC) + 2)
    low, high = 1.0, 1.0 / LOWEST
    while high - low > 1e-4 * low:
        middle = (low + high) / 2.0
        if calibrated(logits_NC, 1.0 / middle).max(axis=1).mean() > allowed:
            high = middle
        else:
            low = middle
    return 1.0 / low


def expected_calibration_error(confidence_N: Floats, correct_N: npt.NDArray[np.bool_]) -> float:
    """Mean |confidence - accuracy| over `BINS` equal bins, weighted by their images."""
    if not len(confidence_N):
        raise ValueError("expected calibration error of no images")
    bin_N = np.minimum((confidence_N * BINS).astype(np.int64), BINS - 1)
    gap = 0.0
    for number in np.unique(bin_N):
        inside = bin_N == number
        gap += abs(float(confidence_N[inside].sum() - correct_N[inside].sum()))
    return gap / len(confidence_N)
