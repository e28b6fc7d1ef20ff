"""Leave one domain out: predictions of each source domain by a model that never saw it.

They say what confidence and accuracy look like on a new site, which validation images of known
domains cannot.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from redshank.run import HeldOut, Run, read_held_out
from redshank.settings import TrainingSettings

from .data import UNKNOWN, TrainingData
from .evaluate import predict_logits
from .fit import fit
from .images import Progress


def predict_held_out(
    data: TrainingData,
    settings: TrainingSettings,
    device: torch.device,
    work: Path,
    progress: Progress,
) -> HeldOut | None:
    """Trains one fold a source domain and predicts that domain's training and validation images.

    Of a large domain `MOST_MEASURED` images stand for all; the labelled ones are among them.

    Returns:
        Predictions in the order of `source_domains`; None when folds are off, or when one source
        domain is all there is.
    """
    steps = fold_steps(settings)
    if not steps or len(data.source_domains) < 2:
        return None
    logits, labels, domains = [], [], []
    for number, domain in enumerate(data.source_domains):
        fold = data.without(domain)
        if _lost_classes(fold):
            continue
        fitted = fit(
            fold,
            dataclasses.replace(settings, seed=settings.seed + 1 + number),
            steps=steps,
            device=device,
            checkpoint=work / f"fold-{number}.safetensors",
            phase=f"without {domain}",
            progress=progress,
        )
        both = np.concatenate([data.indices(domain, "train"), data.indices(domain, "val")])
        indices = data.measured(both)
        logits.append(predict_logits(fitted.model, data, indices, device))
        labels.append(data.label_N.numpy()[indices])
        domains.append(np.full(len(indices), number, np.int64))
    if not logits:
        return None
    return HeldOut(np.concatenate(logits), np.concatenate(labels), np.concatenate(domains))


def inherited_held_out(parent: Run, folder: Path, data: TrainingData) -> HeldOut | None:
    """The parent's predictions, where they are about the same classes and source domains.

    They tell of the recipe, not of these weights: a child that only added field images keeps them.
    """
    same = (parent.classes, parent.source_domains) == (data.classes, data.source_domains)
    return read_held_out(folder) if same else None


def fold_steps(settings: TrainingSettings) -> int:
    """Steps of a fold: 0 when folds are off."""
    short = min(settings.held_out_steps, settings.steps)
    return {"off": 0, "short": short, "full": settings.steps}[settings.held_out]


def _lost_classes(fold: TrainingData) -> bool:
    """Whether some class had labels in the held-out domain only: no fold can know it."""
    labels = [fold.label_N[indices] for indices in fold.labelled_indices().values()]
    seen = set(torch.cat(labels).tolist()) - {UNKNOWN}
    return len(seen) < len(fold.classes)
