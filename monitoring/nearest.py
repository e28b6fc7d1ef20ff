"""Which known domain a new site looks most like, by how its answers spread over the bins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from redshank.cells import FloatArray

LEAST_SCENES = 20.0
"""Scenes below which two histograms cannot be compared."""


@dataclass(frozen=True)
class Known:
    """Histograms of N domains with names, ready for comparison."""

    names: tuple[str, ...] = ()
    roots_NZ: FloatArray | None = None
    """Square roots of their shares in each bin."""

    def nearest(self, counts_Z: FloatArray) -> tuple[str, float] | None:
        """Name and Hellinger distance, in [0, 1], of the most similar domain.

        Args:
            counts_Z: the new site's scenes by bin.

        Returns:
            None without enough to compare.
        """
        total = float(counts_Z.sum())
        if self.roots_NZ is None or total < LEAST_SCENES:
            return None
        overlap_N = self.roots_NZ @ np.sqrt(counts_Z / total)
        best = int(overlap_N.argmax())
        return self.names[best], float(np.sqrt(max(1.0 - float(overlap_N[best]), 0.0)))


def known_domains(histograms: Mapping[str, FloatArray]) -> Known:
    """The histograms [Z] that hold enough scenes."""
    kept = {name: bins_Z for name, bins_Z in histograms.items() if bins_Z.sum() >= LEAST_SCENES}
    if not kept:
        return Known()
    bins_NZ = np.stack(list(kept.values()))
    return Known(tuple(kept), np.sqrt(bins_NZ / bins_NZ.sum(axis=1, keepdims=True)))
