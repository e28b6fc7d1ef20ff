"""Did confidence fall because other classes came, or because the images look worse?

Field labels are unknown, but the model's habits are not: from labelled reference images we know how
each true class spreads over cells. EM finds the class mix that explains the observed cells best
(Saerens, Latinne, Decaestecker 2002, on cells); what the mix explains is no harm of the images.

Shapes: C classes, Z confidence bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redshank.cells import CONFIDENCE_MIDPOINTS, FloatArray, mean_confidence

EM_STEPS = 30
SMOOTHING = 0.05
PRIOR_SCENES = 30.0


@dataclass(frozen=True)
class Split:
    """A drop of mean confidence in two parts, as ratios; `mix + look` is the whole drop."""

    mix: float
    look: float

    @property
    def cause(self) -> str:
        """`mix`, `look` or `both` (each at least a quarter of the two together)."""
        mix, look = max(self.mix, 0.0), max(self.look, 0.0)
        if min(mix, look) >= 0.25 * (mix + look) > 0:
            return "both"
        return "mix" if mix > look else "look"


def estimate_mix(
    labelled_CCZ: FloatArray, counts_CZ: FloatArray, prior_C: FloatArray | None = None
) -> FloatArray:
    """Class mix [C] behind unlabelled cell counts, by EM.

    Args:
        labelled_CCZ: counts [true class, predicted class, bin] of labelled images.
        counts_CZ: observed cells [predicted class, bin], weighted scenes.
        prior_C: mix of `PRIOR_SCENES` pseudo-scenes; the labelled images' own mix when omitted.
    """
    classes = labelled_CCZ.shape[0]
    table_CX = labelled_CCZ.reshape(classes, -1) + SMOOTHING
    likelihood_CX = table_CX / table_CX.sum(axis=1, keepdims=True)
    labelled_C = labelled_CCZ.sum(axis=(1, 2)) + SMOOTHING
    prior_C = labelled_C / labelled_C.sum() if prior_C is None else prior_C
    observed_X = counts_CZ.reshape(-1)
    mix_C = prior_C.copy()
    for _ in range(EM_STEPS):
        joint_CX = mix_C[:, None] * likelihood_CX
        expected_C = (joint_CX / joint_CX.sum(axis=0)) @ observed_X + PRIOR_SCENES * prior_C
        mix_C = expected_C / expected_C.sum()
    return np.asarray(mix_C)


def split_drop(
    labelled_CCZ: FloatArray, reference_CZ: FloatArray, observed_CZ: FloatArray
) -> Split | None:
    """Split the fall of mean confidence from a reference to what is observed now.

    Returns:
        The two parts, or None without labelled images, reference or observations.
    """
    if not (labelled_CCZ.any() and reference_CZ.any() and observed_CZ.any()):
        return None
    confidence_C = class_confidence(labelled_CCZ)
    then_C = estimate_mix(labelled_CCZ, reference_CZ)
    now_C = estimate_mix(labelled_CCZ, observed_CZ, then_C)
    mix = float((then_C - now_C) @ confidence_C)
    whole = mean_confidence(reference_CZ) - mean_confidence(observed_CZ)
    return Split(mix=mix, look=whole - mix)


def class_confidence(labelled_CCZ: FloatArray) -> FloatArray:
    """Mean confidence [C] of the labelled images of each true class."""
    bins_CZ = labelled_CCZ.sum(axis=1)
    total = float(bins_CZ.sum())
    overall = float(bins_CZ.sum(axis=0) @ np.asarray(CONFIDENCE_MIDPOINTS)) / total
    n_C = bins_CZ.sum(axis=1)
    means_C = bins_CZ @ np.asarray(CONFIDENCE_MIDPOINTS) / np.maximum(n_C, 1e-300)
    return np.where(n_C > 0, means_C, overall)
