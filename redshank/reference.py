"""The monitor's references, which travel in the bundle: `reference.npz`.

Cells are (predicted class x calibrated confidence bin), see `redshank/cells.py`. Counts are of
independent images of the source domains, D of them in the order of `Bundle.source_domains`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from redshank.errors import IntegrityError

Floats = npt.NDArray[np.float64]

MIN_IMAGES = 20
"""Source images without which no novelty reference is made, and so no bundle."""


@dataclass(frozen=True)
class Reference:
    """Arrays of `reference.npz`. B = confidence bins, C = classes, E = embedding size."""

    held_out_counts_DCB: Floats
    """Cells of held-out-domain predictions, calibrated: what a site never seen should look like.
    All zeros when training held no domain out: then no absolute reference exists."""
    validation_counts_DCB: Floats
    """Cells of this model on its validation images, per source domain."""
    labelled_counts_CCB: Floats
    """[true class, predicted class, bin] of labelled held-out (else validation) images: the
    likelihood table of the class-mix split."""
    embedding_mean_E: Floats
    """Mean of source embeddings, each scaled to length 1 first."""
    embedding_projection_EP: Floats
    """Whitening projection: the novelty distance of e is |(e / |e| - mean) @ projection|."""
    novelty_quantiles_Q: Floats
    """Distances at equally spaced quantiles 0..1 of validation images; the novelty *rank* of a new
    image is the share of them that lies below its distance."""

    @property
    def has_absolute(self) -> bool:
        """Whether held-out-domain predictions exist."""
        return bool(self.held_out_counts_DCB.sum() > 0)


def write_reference(path: Path, reference: Reference) -> None:
    """Write the arrays; names in the file are the field names."""
    np.savez_compressed(path, **{f.name: getattr(reference, f.name) for f in fields(reference)})


def read_reference(path: Path) -> Reference:
    """Read and check the arrays.

    Raises:
        IntegrityError: an array is missing, not finite, or shapes disagree.
    """
    with np.load(path, allow_pickle=False) as arrays:
        missing = [f.name for f in fields(Reference) if f.name not in arrays]
        if missing:
            raise IntegrityError(f"{path}: array {missing[0]!r} is missing")
        reference = Reference(**{f.name: arrays[f.name] for f in fields(Reference)})
    for field in fields(reference):
        if not np.isfinite(getattr(reference, field.name)).all():
            raise IntegrityError(f"{path}: array {field.name!r} holds values that are not finite")
    _, classes, bins = reference.held_out_counts_DCB.shape
    if reference.labelled_counts_CCB.shape != (classes, classes, bins):
        raise IntegrityError(
            f"{path}: labelled_counts_CCB has shape {reference.labelled_counts_CCB.shape}, "
            f"expected {(classes, classes, bins)}"
        )
    return reference
