"""Penultimate features of images, without gradient."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from redshank.nn.backbones import Backbone

BATCH = 256


@torch.no_grad()
def embed(
    model: Backbone, images_NHW3: npt.NDArray[np.uint8], *, device: str = "cpu"
) -> npt.NDArray[np.float32]:
    """embedding_NE of uint8 images; the model is in evaluation mode and on `device`."""
    parts = [np.zeros((0, model.embedding_dim), np.float32)]
    for start in range(0, len(images_NHW3), BATCH):
        images_BHW3 = torch.from_numpy(np.ascontiguousarray(images_NHW3[start : start + BATCH]))
        x_B3HW = images_BHW3.to(device).permute(0, 3, 1, 2).float() / 255.0
        parts.append(model(x_B3HW)[1].float().cpu().numpy())
    return np.concatenate(parts)
