"""The monitor's references, which travel in the bundle: `reference.npz`.

Cells are (predicted class x calibrated confidence bin), see `redshank/cells.py`. Counts are of
independent images of the source domains, D of them in the order of `Bundle.source_domains`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from redshank.accuracy import MAPS, STATISTICS, AccuracyPools
from redshank.array_file import read_arrays
from redshank.errors import IntegrityError

Floats = npt.NDArray[np.float64]

ACCURACY = "accuracy"
"""Field of the optional part; its arrays are `accuracy_<field of AccuracyPools>` in the file."""
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
    accuracy: AccuracyPools | None = None
    """How statistics of answers go with accuracy, from corrupted labelled images. None in bundles
    of older exports, and where too few validation images have labels."""

    @property
    def has_absolute(self) -> bool:
        """Whether held-out-domain predictions exist."""
        return bool(self.held_out_counts_DCB.sum() > 0)


def write_reference(path: Path, reference: Reference) -> None:
    """Write the arrays; names in the file are the field names."""
    arrays = {name: getattr(reference, name) for name in _names()}
    if reference.accuracy is not None:
        arrays |= {f"{ACCURACY}_{name}": a for name, a in vars(reference.accuracy).items()}
    np.savez_compressed(path, **arrays)


def read_reference(path: Path) -> Reference:
    """Read and check the arrays.

    Raises:
        IntegrityError: the file or an array is missing, not finite, or shapes disagree.
    """
    optional = [f"{ACCURACY}_{field.name}" for field in fields(AccuracyPools)]
    arrays = read_arrays(path)
    some = any(name in arrays for name in optional)
    found = {}
    for name in (*_names(), *(optional if some else ())):
        if name not in arrays:
            raise IntegrityError(f"{path}: array {name!r} is missing")
        found[name] = arrays[name]
        if not np.isfinite(found[name]).all():
            raise IntegrityError(f"{path}: array {name!r} holds values that are not finite")
    accuracy = {f.name: found.pop(f"{ACCURACY}_{f.name}") for f in fields(AccuracyPools) if some}
    reference = Reference(**found, accuracy=AccuracyPools(**accuracy) if some else None)
    for name, actual, expected in _shapes(reference):
        if actual != expected:
            raise IntegrityError(f"{path}: {name} has shape {actual}, expected {expected}")
    return reference


def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Reference) if field.name != ACCURACY)


def _shapes(reference: Reference) -> list[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """Name, shape and expected shape of the arrays that must agree."""
    _, classes, bins = reference.held_out_counts_DCB.shape
    labelled = reference.labelled_counts_CCB.shape
    found: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
        ("labelled_counts_CCB", labelled, (classes, classes, bins))
    ]
    if (pools := reference.accuracy) is not None:
        count, size = max(pools.true_P.size, 1), len(STATISTICS)
        expected = {
            "statistics_PS": (count, size),
            "true_P": (count,),
            "left_out_PM": (count, len(MAPS)),
            "weights_MW": (len(MAPS), size + 1),
        }
        found += [
            (f"{ACCURACY}_{name}", getattr(pools, name).shape, shape)
            for name, shape in expected.items()
        ]
    return found
