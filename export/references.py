"""What the monitor compares traffic with: cells of held-out and validation images, and novelty.

Shapes: N images, D source domains, C classes, B confidence bins, E features, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from redshank.cells import NUM_CONFIDENCE_BINS, cell_counts
from redshank.errors import InputError
from redshank.infer import calibrated, direction
from redshank.reference import MIN_IMAGES, Reference
from redshank.run import HeldOut

Array = npt.NDArray[Any]

SHRINKAGE = 0.1
"""Share of the identity in the covariance: directions never seen to vary do not weigh endlessly."""
NUM_QUANTILES = 201


@dataclass(frozen=True)
class DomainAnswers:
    """The exported model's answers to the images that represent one source domain."""

    logits_NC: Array
    embedding_NE: Array
    label_N: Array
    """int64 class index, -1 unknown."""
    scene_N: Array
    """Text; images of one scene are one unit of evidence."""
    weight_N: Array
    """float64, 1 / (images of the scene)."""


def build_reference(
    answers: Mapping[str, DomainAnswers], held_out: HeldOut | None, *, temperature: float
) -> Reference:
    """All arrays of `reference.npz`.

    Args:
        answers: per source domain, in the order of the bundle's `source_domains`.
        held_out: out-of-fold predictions of the run; None when training held no domain out.
        temperature: divides all logits.

    Raises:
        InputError: fewer than `MIN_IMAGES` images over all domains.
    """
    classes = next(iter(answers.values())).logits_NC.shape[1]
    validation_DCB = np.stack(
        [_cells(a.logits_NC, a.weight_N, temperature, classes) for a in answers.values()]
    )
    if held_out is None:
        held_out_DCB = np.zeros_like(validation_DCB)
    else:
        held_out_DCB = np.stack(
            [
                _cells(held_out.logits_NC[held_out.domain_N == d], None, temperature, classes)
                for d in range(len(answers))
            ]
        )
    embedding_NE = np.concatenate([a.embedding_NE for a in answers.values()])
    scene_N = np.concatenate([a.scene_N for a in answers.values()])
    mean_E, projection_EP, quantiles_Q = novelty_arrays(embedding_NE, scene_N)
    return Reference(
        held_out_counts_DCB=held_out_DCB,
        validation_counts_DCB=validation_DCB,
        labelled_counts_CCB=_labelled_cells(answers, held_out, temperature, classes),
        embedding_mean_E=mean_E,
        embedding_projection_EP=projection_EP,
        novelty_quantiles_Q=quantiles_Q,
    )


def novelty_arrays(
    embedding_NE: Array, scene_N: Array, *, seed: int = 0
) -> tuple[Array, Array, Array]:
    """Mean, whitening projection [E, E] and distance quantiles of source embedding directions.

    Whitening is fitted on one half of the scenes; the quantiles are distances of the other half,
    which it never saw. So the rank of a fresh source image is uniform on [0, 1]; ranks of the
    fitting half itself would be too small.

    Args:
        embedding_NE: all domains together.
        scene_N: scene of each image; a scene never lies in both halves.
        seed: of the split.

    Raises:
        InputError: fewer than `MIN_IMAGES` images, or all of one scene.
    """
    scenes, inverse_N = np.unique(scene_N, return_inverse=True)
    if len(embedding_NE) < MIN_IMAGES or len(scenes) < 2:
        raise InputError(
            f"{len(embedding_NE)} source images of {len(scenes)} scenes are too few for a novelty "
            f"reference, expected at least {MIN_IMAGES} of 2",
            hint="Give the source domains more validation images (redshank data scan --val-share) "
            "or unlabelled ones, then train again.",
        )
    fitting_S = np.random.default_rng(seed).permutation(len(scenes)) < len(scenes) // 2
    fitting_N = fitting_S[inverse_N]
    unit_NE = direction(embedding_NE)
    mean_E, projection_EE = whitening(unit_NE[fitting_N])
    distance_N = np.linalg.norm((unit_NE[~fitting_N] - mean_E) @ projection_EE, axis=1)
    return mean_E, projection_EE, np.quantile(distance_N, np.linspace(0, 1, NUM_QUANTILES))


def whitening(embedding_NE: Array) -> tuple[Array, Array]:
    """Mean [E] and P [E, E] with P Pᵀ = inverse of the shrunk covariance, float64.

    The covariance is (1 - a) S + a tr(S)/E I with a = `SHRINKAGE` (Ledoit and Wolf 2004, with a
    fixed a), so features that never fired still count when they do.
    """
    x_NE = embedding_NE.astype(np.float64)
    mean_E = x_NE.mean(axis=0)
    covariance_EE = np.cov(x_NE, rowvar=False, ddof=0)
    size = len(mean_E)
    spread = max(float(np.trace(covariance_EE)) / size, np.finfo(np.float64).tiny)
    shrunk_EE = (1 - SHRINKAGE) * covariance_EE + SHRINKAGE * spread * np.eye(size)
    value_E, vector_EE = np.linalg.eigh(shrunk_EE)
    return mean_E, vector_EE / np.sqrt(value_E)


def _cells(logits_NC: Array, weight_N: Array | None, temperature: float, classes: int) -> Array:
    probabilities_NC = calibrated(logits_NC, temperature)
    if not len(probabilities_NC):
        return np.zeros((classes, NUM_CONFIDENCE_BINS))
    return cell_counts(
        probabilities_NC.argmax(axis=1),
        probabilities_NC.max(axis=1),
        weight_N,
        num_classes=classes,
    )


def _labelled_cells(
    answers: Mapping[str, DomainAnswers],
    held_out: HeldOut | None,
    temperature: float,
    classes: int,
) -> Array:
    """[true class, predicted class, bin] of held-out images where labels exist, else validation."""
    if held_out is not None and (held_out.label_N >= 0).any():
        logits_NC, label_N = held_out.logits_NC, held_out.label_N
        weight_N = np.ones(len(label_N))
    else:
        logits_NC = np.concatenate([a.logits_NC for a in answers.values()])
        label_N = np.concatenate([a.label_N for a in answers.values()])
        weight_N = np.concatenate([a.weight_N for a in answers.values()])
    return np.stack(
        [
            _cells(logits_NC[label_N == c], weight_N[label_N == c], temperature, classes)
            for c in range(classes)
        ]
    )
