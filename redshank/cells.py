"""Confidence cells and novelty bins: the one histogram that export, serving and the gates share.

A prediction falls into one cell = (predicted class, confidence bin). Everything the monitor decides
is a function of cell counts, so counts of two workers add, and the order inside a tick is lost
without loss. Shapes: N predictions, C classes, Z confidence bins, Q novelty bins.

Confidence is the largest softmax probability after temperature scaling, in [0, 1]. Bins are dense
near 1, where a good classifier lives. Novelty is the rank of an image's embedding distance among
the reference distances, in [0, 1]: 0 is the most ordinary image, 1 is beyond all of them.
All bins are half open, [low, high).
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

CONFIDENCE_EDGES: tuple[float, ...] = (
    *(0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9),
    *(0.95, 0.97, 0.98, 0.99, 0.995, 0.998),
)
"""Inner edges; below the first and above the last lie open-ended bins."""

NUM_CONFIDENCE_BINS: int = len(CONFIDENCE_EDGES) + 1
"""19 bins."""

CONFIDENCE_MIDPOINTS: tuple[float, ...] = (
    0.25,
    *((low + high) / 2 for low, high in itertools.pairwise(CONFIDENCE_EDGES)),
    0.999,
)
"""The confidence that stands for a bin; 0.25 and 0.999 for the two open-ended ones."""

NOVELTY_Q95: float = 0.95
"""The cut of "among the 5 % most unusual of the reference"."""

NOVELTY_EDGES: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, NOVELTY_Q95)
"""Ten equal bins, the last one cut again at the 95 % quantile."""

NUM_NOVELTY_BINS: int = len(NOVELTY_EDGES) + 1
"""11 bins."""

NOVELTY_MIDPOINTS: tuple[float, ...] = tuple(
    (low + high) / 2 for low, high in zip((0.0, *NOVELTY_EDGES), (*NOVELTY_EDGES, 1.0), strict=True)
)
"""The rank that stands for a bin."""


def confidence_bin(confidence: ArrayLike) -> IntArray:
    """Bin index of each confidence, 0 .. NUM_CONFIDENCE_BINS - 1.

    Args:
        confidence: calibrated probabilities in [0, 1], any shape.

    Returns:
        int64 array of the same shape.

    Raises:
        ValueError: a value is outside [0, 1] or not a number.
    """
    return _bin(confidence, CONFIDENCE_EDGES, "confidence")


def novelty_bin(novelty: ArrayLike) -> IntArray:
    """Bin index of each novelty rank, 0 .. NUM_NOVELTY_BINS - 1; see `confidence_bin`."""
    return _bin(novelty, NOVELTY_EDGES, "novelty rank")


def cell_index(classes: ArrayLike, confidence: ArrayLike) -> IntArray:
    """Flat cell number of each prediction: class * NUM_CONFIDENCE_BINS + confidence bin."""
    return np.asarray(classes, dtype=np.int64) * NUM_CONFIDENCE_BINS + confidence_bin(confidence)


def cell_counts(
    classes: ArrayLike,
    confidences: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    num_classes: int,
) -> FloatArray:
    """Histogram of predictions over (class, confidence bin).

    Args:
        classes: predicted class [N], 0 .. num_classes - 1.
        confidences: calibrated confidence [N], in [0, 1].
        weights: weight of each prediction [N], >= 0 (1 / scene size); 1 each when omitted.
        num_classes: C.

    Returns:
        float64 [C, NUM_CONFIDENCE_BINS]; its sum is the sum of the weights.

    Raises:
        ValueError: a class or confidence out of range, a negative weight, or unequal lengths.
    """
    classes_N = np.atleast_1d(np.asarray(classes, dtype=np.int64))
    if classes_N.size and not (classes_N.min() >= 0 and classes_N.max() < num_classes):
        raise ValueError(
            f"predicted class {classes_N.min()}..{classes_N.max()}, expected 0..{num_classes - 1}"
        )
    cells_N = cell_index(classes_N, np.atleast_1d(np.asarray(confidences, dtype=np.float64)))
    counts = _count(cells_N, weights, num_classes * NUM_CONFIDENCE_BINS)
    return counts.reshape(num_classes, NUM_CONFIDENCE_BINS)


def novelty_counts(novelty: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Histogram of novelty ranks, float64 [NUM_NOVELTY_BINS]; arguments as in `cell_counts`."""
    return _count(novelty_bin(np.atleast_1d(novelty)), weights, NUM_NOVELTY_BINS)


def mean_confidence(counts: ArrayLike) -> float:
    """Mean confidence of cell counts [..., NUM_CONFIDENCE_BINS], by bin midpoints; NaN if empty."""
    bins_Z = np.asarray(counts, dtype=np.float64).reshape(-1, NUM_CONFIDENCE_BINS).sum(axis=0)
    total = float(bins_Z.sum())
    return float(bins_Z @ np.asarray(CONFIDENCE_MIDPOINTS)) / total if total > 0 else float("nan")


def _bin(values: ArrayLike, edges: tuple[float, ...], name: str) -> IntArray:
    array = np.asarray(values, dtype=np.float64)
    if not np.all((array >= 0) & (array <= 1)):  # NaN fails both comparisons
        bad = array[~((array >= 0) & (array <= 1))].flat[0]
        raise ValueError(f"{name} {bad}, expected a number in [0, 1]")
    return np.asarray(np.searchsorted(edges, array, side="right"), dtype=np.int64)


def _count(index_N: IntArray, weights: ArrayLike | None, length: int) -> FloatArray:
    if weights is None:
        return np.bincount(index_N, minlength=length).astype(np.float64)
    weights_N = np.broadcast_to(np.asarray(weights, dtype=np.float64), index_N.shape)
    if weights_N.size and not float(weights_N.min()) >= 0:
        raise ValueError(f"weight {weights_N.min()}, expected a number >= 0")
    return np.asarray(np.bincount(index_N, weights_N, length), dtype=np.float64)
