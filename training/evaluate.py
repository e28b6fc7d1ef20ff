"""What a model predicts, and how good that is in each domain."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from redshank.dataset import Split
from redshank.infer import calibrated
from redshank.nn.backbones import Backbone
from redshank.run import DomainMetrics

from .augment import to_float
from .calibrate import expected_calibration_error
from .data import Indices, TrainingData

EVALUATION_BATCH = 256


@torch.no_grad()
def predict_logits(
    model: Backbone, data: TrainingData, indices: Indices, device: torch.device
) -> npt.NDArray[np.float32]:
    """logits_NC of the plain images; the model's mode is restored."""
    was_training = model.training
    model.eval()
    parts = [np.zeros((0, len(data.classes)), np.float32)]
    for start in range(0, len(indices), EVALUATION_BATCH):
        chosen = torch.from_numpy(indices[start : start + EVALUATION_BATCH])
        logits_BC, _ = model(to_float(data.images_NHW3[chosen].to(device)))
        parts.append(logits_BC.float().cpu().numpy())
    model.train(was_training)
    return np.concatenate(parts)


def evaluate_domains(
    model: Backbone,
    data: TrainingData,
    *,
    temperature: float,
    threshold: float,
    device: torch.device,
) -> tuple[DomainMetrics, ...]:
    """Figures of every domain and split that has images.

    `val` and `test` rows measure the classifier. `train` rows measure the *unlabelled* training
    images, `MOST_MEASURED` of them at most: precision and coverage of the pseudo-labels that the
    final average would give, at the training threshold and temperature 1. Rates that need labels
    are None where none are known.
    """
    rows = []
    for domain in data.domains:
        for split in cast("tuple[Split, ...]", ("val", "test", "train")):
            labelled = False if split == "train" else None
            indices = data.indices(domain, split, labelled=labelled)
            if split == "train":
                indices = data.measured(indices)
            if len(indices):
                logits_NC = predict_logits(model, data, indices, device)
                label_N = data.report_label_N.numpy()[indices]
                quality = _quality(logits_NC, label_N, temperature)
                pseudo = _pseudo_labels(logits_NC, label_N, threshold)
                rows.append(
                    DomainMetrics(
                        domain,
                        _role(data, domain),
                        split,
                        len(indices),
                        *quality,
                        *(pseudo if split == "train" else (None, None)),
                    )
                )
    return tuple(rows)


def _role(data: TrainingData, domain: str) -> str:
    if domain in data.source_domains:
        return "source"
    return "target" if domain in data.target_domains else "unseen"


def _quality(
    logits_NC: npt.NDArray[np.float32], label_N: npt.NDArray[np.int64], temperature: float
) -> tuple[float | None, float | None]:
    """Accuracy and calibration error of the images whose class is known."""
    known = label_N >= 0
    if not known.any():
        return None, None
    probability_NC = calibrated(logits_NC[known], temperature)
    correct_N = probability_NC.argmax(axis=1) == label_N[known]
    error = expected_calibration_error(probability_NC.max(axis=1), correct_N)
    return float(correct_N.mean()), error


def _pseudo_labels(
    logits_NC: npt.NDArray[np.float32], label_N: npt.NDArray[np.int64], threshold: float
) -> tuple[float | None, float]:
    """Precision among used pseudo-labels of known class, and the share that is used."""
    probability_NC = calibrated(logits_NC, 1.0)
    used_N = probability_NC.max(axis=1) >= threshold
    judged_N = used_N & (label_N >= 0)
    right_N = probability_NC.argmax(axis=1) == label_N
    precision = float(right_N[judged_N].mean()) if judged_N.any() else None
    return precision, float(used_N.mean())
