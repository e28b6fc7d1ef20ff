"""What a cell's latent space tells apart: classes, and domains."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from redshank.dataset import Manifest
from redshank.nn.checkpoint import load_model
from redshank.nn.embedding import embed
from redshank.run import WEIGHTS_FILE
from redshank.separability import Separability, measure_separability, spread_images


def measure_latent(
    run: Path, images: Manifest, pixels: Path, target: str, *, device: str
) -> Separability:
    """Separability of all domains' images in a run's penultimate features.

    The same images for every method: labelled or not does not choose them.

    Args:
        run: folder of the run.
        images: all images of the bench.
        pixels: the same decoded, in the same order.
        target: the domain that the run never saw.
        device: where to compute.
    """
    chosen = spread_images(images.items)
    model = load_model(run / WEIGHTS_FILE, device=device)
    images_NHW3 = np.load(pixels, mmap_mode="r")[chosen]
    items = [images.items[place] for place in chosen]
    return measure_separability(
        embed(model, images_NHW3, device=device),
        [item.label or item.hidden_label for item in items],
        [item.domain for item in items],
        [target],
    )
