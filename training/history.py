"""Training curves: means of what steps reported since the row before."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from redshank.records import as_dict
from redshank.run import HistoryRow

from .batches import Batch
from .step import Losses

COUNTS = ("unlabelled", "used", "judged", "right")


class History:
    """Collects steps and makes a `HistoryRow` of every `every` of them.

    Args:
        every: steps a row.
        domains: names, as `Batch.domain_U` counts them.
    """

    def __init__(self, every: int, domains: tuple[str, ...]) -> None:
        self.every, self._domains = every, domains
        self.rows: list[dict[str, Any]] = []
        self._sums: dict[str, float] = {}
        self._steps = 0

    def add(self, losses: Losses, batch: Batch) -> None:
        """Takes one step in."""
        known_U = losses.weight_U * (batch.report_label_U >= 0)
        right_U = known_U * (losses.target_U == batch.report_label_U)
        rows_4U = torch.stack([torch.ones_like(known_U), losses.weight_U, known_U, right_U])
        terms = [losses.total, losses.labelled, losses.unlabelled, losses.fixclr]
        sums_4S = rows_4U.new_zeros(4, len(self._domains)).index_add_(1, batch.domain_U, rows_4U)
        # one transfer: each waits for the device
        flat = torch.cat([torch.stack(terms).detach(), rows_4U.sum(1), sums_4S.flatten()])
        found = dict(zip(self._names(), flat.tolist(), strict=True))
        for name, value in found.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1

    def _names(self) -> list[str]:
        losses = ["loss", "loss_labelled", "loss_unlabelled", "loss_fixclr"]
        return [*losses, *COUNTS, *(f"{count} {d}" for count in COUNTS for d in self._domains)]

    def due(self, step: int, steps: int) -> bool:
        """Whether a row ends after step `step` (counted from 1) of `steps`."""
        return step % self.every == 0 or step == steps

    def close_row(self, step: int, *, learning_rate: float, images_per_s: float) -> HistoryRow:
        """Ends the row after step `step` and gives it."""
        sums, judged = self._sums, self._sums["judged"]
        drawn = [domain for domain in self._domains if sums[f"unlabelled {domain}"]]
        judged_domains = [domain for domain in drawn if sums[f"judged {domain}"]]
        means = {n: sums[n] / self._steps for n in sums if n.startswith("loss")}
        self.rows.append(
            {
                "step": step,
                **means,
                "mask_rate": sums["used"] / max(1.0, sums["unlabelled"]),
                "pseudo_label_precision": sums["right"] / judged if judged else None,
                "learning_rate": learning_rate,
                "images_per_s": images_per_s,
                "mask_rate_by_domain": {
                    d: sums[f"used {d}"] / sums[f"unlabelled {d}"] for d in drawn
                },
                "precision_by_domain": {
                    d: sums[f"right {d}"] / sums[f"judged {d}"] for d in judged_domains
                },
            }
        )
        self._sums, self._steps = {}, 0
        return HistoryRow(**self.rows[-1])

    def as_rows(self) -> tuple[HistoryRow, ...]:
        """All rows so far."""
        return tuple(HistoryRow(**row) for row in self.rows)

    def state(self) -> dict[str, Any]:
        """JSON-ready state for a checkpoint."""
        return {"rows": self.rows, "sums": self._sums, "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`."""
        self.rows, self._sums, self._steps = state["rows"], state["sums"], state["steps"]


def in_words(row: HistoryRow) -> str:
    """One line about a row: speed, loss, and how good pseudo-labels are where that is known."""
    parts = [
        f"step {row.step:,}",
        f"{row.images_per_s:,.0f} images/s",
        f"loss {row.loss:.3f}",
        f"pseudo-labels used {row.mask_rate:.0%}",
    ]
    right = [f"{domain} {share:.0%}" for domain, share in row.precision_by_domain.items()]
    return ", ".join([*parts, *(["right: " + ", ".join(right)] if right else [])])


def write_history(path: Path, rows: Iterable[HistoryRow]) -> None:
    """One JSON line a row, as `redshank.run.read_history` reads it."""
    path.write_text("".join(json.dumps(as_dict(row)) + "\n" for row in rows), encoding="utf-8")
