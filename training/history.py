"""Training curves: means of what steps reported since the row before."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from redshank.records import as_dict
from redshank.run import HistoryRow

from .step import Losses


class History:
    """Collects steps and makes a `HistoryRow` of every `every` of them."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.rows: list[dict[str, Any]] = []
        self._sums: dict[str, float] = {}
        self._steps = 0

    def add(self, losses: Losses, report_label_U: Tensor) -> None:
        """Takes one step in."""
        known_U = losses.weight_U * (report_label_U >= 0)
        right_U = known_U * (losses.target_U == report_label_U)
        found = {
            "loss": losses.total.item(),
            "loss_labelled": losses.labelled.item(),
            "loss_unlabelled": losses.unlabelled.item(),
            "loss_fixclr": losses.fixclr.item(),
            "unlabelled": float(len(losses.weight_U)),
            "used": float(losses.weight_U.sum()),
            "judged": float(known_U.sum()),
            "right": float(right_U.sum()),
        }
        for name, value in found.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1

    def due(self, step: int, steps: int) -> bool:
        """Whether a row ends after step `step` (counted from 1) of `steps`."""
        return step % self.every == 0 or step == steps

    def close_row(self, step: int, *, learning_rate: float, images_per_s: float) -> None:
        """Ends the row after step `step`."""
        sums, judged = self._sums, self._sums["judged"]
        means = {n: sums[n] / self._steps for n in sums if n.startswith("loss")}
        self.rows.append(
            {
                "step": step,
                **means,
                "mask_rate": sums["used"] / max(1.0, sums["unlabelled"]),
                "pseudo_label_precision": sums["right"] / judged if judged else None,
                "learning_rate": learning_rate,
                "images_per_s": images_per_s,
            }
        )
        self._sums, self._steps = {}, 0

    def as_rows(self) -> tuple[HistoryRow, ...]:
        """All rows so far."""
        return tuple(HistoryRow(**row) for row in self.rows)

    def state(self) -> dict[str, Any]:
        """JSON-ready state for a checkpoint."""
        return {"rows": self.rows, "sums": self._sums, "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`."""
        self.rows, self._sums, self._steps = state["rows"], state["sums"], state["steps"]


def write_history(path: Path, rows: Iterable[HistoryRow]) -> None:
    """One JSON line a row, as `redshank.run.read_history` reads it."""
    path.write_text("".join(json.dumps(as_dict(row)) + "\n" for row in rows), encoding="utf-8")
