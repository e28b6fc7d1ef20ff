"""What a stream showed over many ticks: faded or whole, and counters that only rise."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from redshank.cells import NUM_CONFIDENCE_BINS, NUM_NOVELTY_BINS, FloatArray

from .counts import TickCounts, add_cells


@dataclass
class Sample:
    """Cells and novelty of a number of scenes."""

    scenes: float
    cells_CZ: FloatArray
    novelty_Q: FloatArray

    def plus(self, counts: TickCounts, keep: float = 1.0) -> Sample:
        """This sample, faded to `keep`, and one more tick."""
        return Sample(
            self.scenes * keep + counts.scenes,
            add_cells(self.cells_CZ * keep, counts.cells_CZ),
            self.novelty_Q * keep + counts.novelty_Q,
        )

    @property
    def counts(self) -> FloatArray:
        """Confidence bins, then novelty bins."""
        return np.concatenate([self.cells_CZ.sum(axis=0), self.novelty_Q])

    def to_memory(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "scenes": self.scenes,
            "cells": self.cells_CZ.tolist(),
            "novelty": self.novelty_Q.tolist(),
        }

    @classmethod
    def from_memory(cls, values: dict[str, Any]) -> Sample:
        """From JSON values."""
        cells_CZ = np.asarray(values["cells"], dtype=np.float64).reshape(-1, NUM_CONFIDENCE_BINS)
        return cls(values["scenes"], cells_CZ, np.asarray(values["novelty"], dtype=np.float64))


@dataclass
class Totals:
    """Everything a stream ever showed, for counters that only rise."""

    images: int = 0
    errors: int = 0
    scenes: int = 0
    by_class: list[float] = field(default_factory=list)
    """Scene-weighted predictions of each class."""
    by_confidence: list[float] = field(default_factory=lambda: [0.0] * NUM_CONFIDENCE_BINS)
    """Scene-weighted predictions in each confidence bin."""

    def add(self, counts: TickCounts) -> None:
        """Count one more tick."""
        self.images += counts.events - counts.errors
        self.errors += counts.errors
        self.scenes += counts.scenes
        classes = counts.cells_CZ.sum(axis=1).tolist()
        self.by_class = [a + b for a, b in zip_longest(self.by_class, classes, fillvalue=0.0)]
        bins = counts.cells_CZ.sum(axis=0).tolist()
        self.by_confidence = [a + b for a, b in zip(self.by_confidence, bins, strict=True)]


def empty_sample() -> Sample:
    """No scenes."""
    return Sample(0.0, np.zeros((0, NUM_CONFIDENCE_BINS)), np.zeros(NUM_NOVELTY_BINS))
