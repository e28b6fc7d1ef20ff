"""Stops a training whose pseudo-labels have run together into few classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from redshank.errors import StageError

WINDOW_STEPS = 100
FULL_USE = 0.95
"""Share of pseudo-labels in use from which a fall of the entropy is taken for collapse."""
ENTROPY_SHARE = 0.6
"""Of the largest class entropy that an earlier window had."""


class CollapseGuard:
    """Watches how evenly pseudo-labels spread over classes, in windows of `WINDOW_STEPS`.

    Self-training that fails grows *more* confident: nearly every pseudo-label is used while they
    gather in few classes. Confidence alone would call that success.
    """

    def __init__(self, classes: int) -> None:
        self.counts = [0] * classes
        self.used = 0
        self.steps = 0
        self.largest_entropy = 0.0

    def update(self, counts: Sequence[int], used: int) -> None:
        """Takes one step in.

        Args:
            counts: pseudo-labels of this step, a class each.
            used: how many of them passed the threshold.

        Raises:
            StageError: a full window is collapsed.
        """
        self.counts = [old + new for old, new in zip(self.counts, counts, strict=True)]
        self.used += used
        self.steps += 1
        if self.steps == WINDOW_STEPS:
            self._close_window()

    def state(self) -> dict[str, object]:
        """JSON-ready state for a checkpoint."""
        return dict(vars(self))

    def restore(self, state: dict[str, object]) -> None:
        """Goes on from `state()`."""
        vars(self).update(state)

    def _close_window(self) -> None:
        total = sum(self.counts)
        entropy = class_entropy(self.counts)
        use = self.used / max(1, total)
        if use > FULL_USE and entropy < ENTROPY_SHARE * self.largest_entropy:
            raise StageError(
                f"training collapsed: {use:.0%} of the pseudo-labels are used, but their class "
                f"entropy fell to {entropy:.2f} nats from {self.largest_entropy:.2f}",
                hint="Raise training.fixmatch.threshold, lower training.fixclr.weight, "
                "or label more images.",
            )
        self.largest_entropy = max(self.largest_entropy, entropy)
        self.counts, self.used, self.steps = [0] * len(self.counts), 0, 0


def class_entropy(counts: Sequence[int]) -> float:
    """Entropy of a class histogram in nats; 0 when empty."""
    total = sum(counts)
    return -sum(n / total * math.log(n / total) for n in counts if n)
