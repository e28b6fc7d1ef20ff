"""What a model version's traffic is compared with before the site has a history of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from redshank.bundle import read_bundle
from redshank.cells import NUM_CONFIDENCE_BINS, NUM_NOVELTY_BINS, FloatArray
from redshank.errors import InputError
from redshank.reference import Reference, read_reference

from .accuracy import AccuracyMap
from .scores import Null, build_null


@dataclass(frozen=True)
class Baseline:
    """The bundle's part of the references."""

    classes: tuple[str, ...]
    source_domains: tuple[str, ...]
    validation_DCZ: FloatArray
    """Cells of this model on images of each source domain that it did not train on."""
    held_out_DCZ: FloatArray
    """Cells of held-out source domains; zeros when there are none."""
    labelled_CCZ: FloatArray
    accuracy: AccuracyMap | None = None
    """Estimates accuracy without labels; None when the bundle brings no map."""
    _absolute: dict[tuple[float, float], Null | None] = field(default_factory=dict, repr=False)
    """Nulls that were built before; all domains of a version share one."""

    @property
    def sources(self) -> dict[str, FloatArray]:
        """Histogram [Z] over confidence bins of each source domain."""
        return dict(zip(self.source_domains, self.validation_DCZ.sum(axis=1), strict=True))

    @property
    def held_out_pooled(self) -> FloatArray:
        """Held-out cells, all domains pooled."""
        return np.asarray(self.held_out_DCZ.sum(axis=0))

    def absolute_null(self, *, delta: float, margin: float) -> Null | None:
        """The null "this site is no worse than a source domain the model had not seen".

        None when training held no domain out. A new site is a domain of its own, so the bounds are
        lowered by how much held-out domains differ among themselves.
        """
        key = (delta, margin)
        if key not in self._absolute:
            self._absolute[key] = self._build_absolute(*key)
        return self._absolute[key]

    def _build_absolute(self, delta: float, margin: float) -> Null | None:
        if not self.held_out_DCZ.any():
            return None
        domains_DB = np.pad(self.held_out_DCZ.sum(axis=1), ((0, 0), (0, NUM_NOVELTY_BINS)))
        return build_null(
            domains_DB.sum(axis=0),
            scenes=float(domains_DB.sum()),
            delta=delta,
            margin_confidence=margin,
            margin_indicator=2 * margin,
            domains_DB=domains_DB,
        )


NO_BASELINE = Baseline(
    classes=(),
    source_domains=(),
    validation_DCZ=np.zeros((0, 0, NUM_CONFIDENCE_BINS)),
    held_out_DCZ=np.zeros((0, 0, NUM_CONFIDENCE_BINS)),
    labelled_CCZ=np.zeros((0,)),
)
"""Of a bundle that is not on this machine: only the burn-in is left to compare with."""


def read_baseline(folder: Path, precision: str) -> Baseline:
    """Baseline of a bundle folder; `NO_BASELINE` when the folder is not here.

    Args:
        folder: of the bundle.
        precision: which artefact answers (`serving.precision`), fp32 where the bundle lacks it.
    """
    try:
        bundle = read_bundle(folder, verify=False)
    except InputError:
        return NO_BASELINE
    reference = read_reference(folder / bundle.served(precision).reference)
    return baseline_of(bundle.classes, bundle.source_domains, reference)


def baseline_of(
    classes: tuple[str, ...], source_domains: tuple[str, ...], reference: Reference
) -> Baseline:
    """Baseline of a bundle's names and reference arrays."""
    return Baseline(
        classes=classes,
        source_domains=source_domains,
        validation_DCZ=reference.validation_counts_DCB,
        held_out_DCZ=reference.held_out_counts_DCB,
        labelled_CCZ=reference.labelled_counts_CCB,
        accuracy=None if reference.accuracy is None else AccuracyMap(reference.accuracy),
    )
