"""Other estimates of accuracy without labels, written out plainly.

All learn from labelled validation images alone: their confidence, and whether the answer was right.
Shapes: R validation images, N images of a site.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from redshank.cells import FloatArray


@dataclass(frozen=True)
class Validation:
    """Labelled images of the source domains, as the model answers them."""

    confidence_R: FloatArray
    """Calibrated."""
    right_R: FloatArray
    """1 right, 0 wrong."""


Rival = Callable[[Validation, FloatArray], float]


def average_confidence(_: Validation, confidence_N: FloatArray) -> float:
    """AC: the mean confidence (Hendrycks and Gimpel 2017)."""
    return float(confidence_N.mean())


def difference_of_confidences(validation: Validation, confidence_N: FloatArray) -> float:
    """DoC: validation accuracy less the fall of mean confidence (Guillory et al. 2021)."""
    fall = validation.confidence_R.mean() - confidence_N.mean()
    return float(np.clip(validation.right_R.mean() - fall, 0, 1))


def average_thresholded_confidence(validation: Validation, confidence_N: FloatArray) -> float:
    """ATC: the share above the threshold that is right on validation (Garg et al. 2022)."""
    return float((confidence_N > atc_threshold(validation)).mean())


def atc_threshold(validation: Validation) -> float:
    """The confidence that as many validation images exceed as are answered rightly."""
    return float(np.quantile(validation.confidence_R, 1 - validation.right_R.mean()))


def confidence_based_performance(validation: Validation, confidence_N: FloatArray) -> float:
    """CBPE: the mean confidence after isotonic calibration on validation (NannyML)."""
    level, value = isotonic(validation.confidence_R, validation.right_R)
    return float(np.interp(confidence_N, level, value).mean())


def isotonic(x_R: FloatArray, y_R: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Least-squares fit of y that never falls with x: sorted x, and the fit there.

    Pool adjacent violators; equal x are one point.
    """
    level, inverse = np.unique(x_R, return_inverse=True)
    weight = np.bincount(inverse).astype(float)
    blocks: list[list[float]] = []
    for mean, count in zip(np.bincount(inverse, y_R) / weight, weight, strict=True):
        blocks.append([mean, count, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean_b, count_b, points_b = blocks.pop()
            mean_a, count_a, points_a = blocks.pop()
            both = count_a + count_b
            mean_ab = (mean_a * count_a + mean_b * count_b) / both
            blocks.append([mean_ab, both, points_a + points_b])
    return level, np.repeat([b[0] for b in blocks], [int(b[2]) for b in blocks])


RIVALS: dict[str, Rival] = {
    "AC": average_confidence,
    "DoC": difference_of_confidences,
    "ATC": average_thresholded_confidence,
    "CBPE": confidence_based_performance,
}
