"""What a cell's latent space tells apart: classes, and domains."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from redshank.dataset import Manifest
from redshank.nn.checkpoint import load_model
from redshank.nn.embedding import embed
from redshank.preprocess import decode_image
from redshank.run import WEIGHTS_FILE, Run
from redshank.separability import Separability, measure_separability, spread_images


def measure_latent(
    folder: Path, run: Run, images: Manifest, pixels: Path | None, target: str, *, device: str
) -> Separability:
    """Separability of all domains' images in a run's penultimate features.

    The same images for every method: labelled or not does not choose them.

    Args:
        folder: of the run.
        run: what it says.
        images: all images of the bench.
        pixels: file of the same decoded, in the same order; None: decoded here.
        target: the domain that the run never saw.
        device: where to compute.
    """
    chosen = spread_images(images.items)
    items = [images.items[place] for place in chosen]
    if pixels is not None:
        images_NHW3 = np.load(pixels, mmap_mode="r")[chosen]
    else:
        size = run.backbone.image_size
        images_NHW3 = np.stack([decode_image(images.read_image(i), size, size) for i in items])
    return measure_separability(
        embed(load_model(folder / WEIGHTS_FILE, device=device), images_NHW3, device=device),
        [item.label or item.hidden_label for item in items],
        [item.domain for item in items],
        [target],
    )
