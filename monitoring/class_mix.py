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
PRIOR_SCENES = 5.0
CERTAIN = 1.64
"""Standard errors that the drop by look must exceed what is harmless by."""


@dataclass(frozen=True)
class Split:
    """A drop of mean confidence in two parts, as ratios; `mix + look` is the whole drop."""

    mix: float
    look: float
    error: float = 0.0
    """Standard error of the whole drop, from the numbers of scenes."""

    def harmful(self, margin: float) -> bool:
        """Whether the look of the images alone costs more than `margin`, beyond chance."""
        return self.look - CERTAIN * self.error > margin

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
    error = float(np.hypot(_standard_error(reference_CZ), _standard_error(observed_CZ)))
    return Split(mix=mix, look=whole - mix, error=error)


def _standard_error(counts_CZ: FloatArray) -> float:
    """Standard error of the mean confidence of so many scenes."""
    bins_Z = counts_CZ.sum(axis=0)
    total = float(bins_Z.sum())
    deviation_Z = np.asarray(CONFIDENCE_MIDPOINTS) - mean_confidence(counts_CZ)
    return float(np.sqrt(deviation_Z**2 @ bins_Z / total / max(total, 1.0)))


def class_confidence(labelled_CCZ: FloatArray) -> FloatArray:
    """Mean confidence [C] of the labelled images of each true class."""
    bins_CZ = labelled_CCZ.sum(axis=1)
    total = float(bins_CZ.sum())
    overall = float(bins_CZ.sum(axis=0) @ np.asarray(CONFIDENCE_MIDPOINTS)) / total
    n_C = bins_CZ.sum(axis=1)
    means_C = bins_CZ @ np.asarray(CONFIDENCE_MIDPOINTS) / np.maximum(n_C, 1e-300)
    return np.where(n_C > 0, means_C, overall)
