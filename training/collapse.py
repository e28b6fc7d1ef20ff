"""Stops a training whose pseudo-labels have run together into few classes."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from redshank.errors import StageError

from .data import TrainingData
from .step import Losses
from .teacher import Teacher

WINDOW_STEPS = 100
FULL_USE = 0.95
"""Share of pseudo-labels in use from which a fall of the entropy is taken for collapse."""
ENTROPY_SHARE = 0.6
"""Of the largest class entropy that an earlier window had."""

_HINT = "Raise training.fixmatch.threshold, lower training.fixclr.weight, or label more images."
_TARGET_HINT = "Label some of its images, leave it out, or set training.target.on_collapse to drop."


class CollapseGuard:
    """Watches how evenly pseudo-labels spread over classes, in windows of `WINDOW_STEPS`.

    Self-training that fails grows *more* confident: nearly every pseudo-label is used while they
    gather in few classes. Confidence alone would call that success.
    """

    def __init__(self, classes: int) -> None:
        self.counts = [0] * classes
        self.used = 0.0
        self.steps = 0
        self.largest_entropy = 0.0

    def update(self, counts: Sequence[int], used: float) -> str:
        """Takes one step in.

        Args:
            counts: pseudo-labels of this step, a class each.
            used: how many of them are in use, or the sum of their weights.

        Returns:
            What is wrong, where a full window is collapsed; else an empty text.
        """
        self.counts = [old + new for old, new in zip(self.counts, counts, strict=True)]
        self.used += used
        self.steps += 1
        return self._close_window() if self.steps == WINDOW_STEPS else ""

    def state(self) -> dict[str, Any]:
        """JSON-ready state for a checkpoint."""
        return dict(vars(self))

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state()`."""
        vars(self).update(state)

    def _close_window(self) -> str:
        total = sum(self.counts)
        entropy, largest = class_entropy(self.counts), self.largest_entropy
        use = self.used / max(1, total)
        self.largest_entropy = max(largest, entropy)
        self.counts, self.used, self.steps = [0] * len(self.counts), 0.0, 0
        if use > FULL_USE and entropy < ENTROPY_SHARE * largest:
            return (
                f"{use:.0%} of the pseudo-labels are used, but their class entropy fell to "
                f"{entropy:.2f} nats from {largest:.2f}"
            )
        return ""


class CollapseGuards:
    """One guard over all unlabelled images, and one a target domain.

    Field images have no labels to hold them: self-training on a harmed site ends in one class while
    the source domains look well, so each target domain is watched on its own, by what the base
    method would use before any cap.

    Args:
        data: names of domains and classes.
        teacher: told to drop a domain.
        drop: go on without a collapsed target domain, and say so, instead of stopping.
    """

    def __init__(self, data: TrainingData, teacher: Teacher, *, drop: bool) -> None:
        self._domains, self._teacher, self._drop = data.domains, teacher, drop
        self._classes = len(data.classes)
        self.all = CollapseGuard(self._classes)
        self.targets = {
            data.domains.index(domain): CollapseGuard(self._classes)
            for domain in data.target_domains
        }

    def update(self, losses: Losses, domain_U: Tensor) -> None:
        """Takes one step in.

        Raises:
            StageError: the training, or a target domain that may not be dropped, is collapsed.
        """
        target_U, sure_U, domain_U = losses.target_U.cpu(), losses.sure_U.cpu(), domain_U.cpu()
        for number in [n for n in self.targets if n not in self._teacher.dropped]:
            wrong = self._observe(self.targets[number], target_U, sure_U, domain_U == number)
            if wrong:
                self._give_up(number, wrong)
        dropped = torch.tensor(self._teacher.dropped, dtype=torch.int64)
        wrong = self._observe(self.all, target_U, sure_U, ~torch.isin(domain_U, dropped))
        if wrong:
            raise StageError(f"training collapsed: {wrong}", hint=_HINT)

    def _observe(
        self, guard: CollapseGuard, target_U: Tensor, sure_U: Tensor, rows_U: Tensor
    ) -> str:
        counts = torch.bincount(target_U[rows_U], minlength=self._classes).tolist()
        return guard.update(counts, sure_U[rows_U].sum().item())

    def _give_up(self, number: int, wrong: str) -> None:
        message = f"pseudo-labels of the target domain {self._domains[number]!r} collapsed: {wrong}"
        if not self._drop:
            raise StageError(message, hint=_TARGET_HINT)
        logging.getLogger(__name__).warning("%s; training goes on without its images", message)
        self._teacher.drop(number)

    def state(self) -> dict[str, Any]:
        """JSON-ready state for a checkpoint."""
        targets = {str(number): guard.state() for number, guard in self.targets.items()}
        return {"all": self.all.state(), "targets": targets}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state()`."""
        self.all.restore(state["all"])
        for number, guard in self.targets.items():
            guard.restore(state["targets"][str(number)])


def class_entropy(counts: Sequence[int]) -> float:
    """Entropy of a class histogram in nats; 0 when empty."""
    total = sum(counts)
    return sum(n / total * math.log(total / n) for n in counts if n)
