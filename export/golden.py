"""Synthetic inputs of the golden answers: a bundle carries no user's images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def synthetic_images(
    count: int, height: int, width: int, *, seed: int = 0
) -> npt.NDArray[np.uint8]:
    """Noise in blocks of a size that doubles from image to image, uint8 [count, height, width, 3].

    The first image is pure noise; then blocks of 2, 4, 8 ... pixels and again from the start, so
    that every layer of a network answers with something else than its bias.
    """
    rng = np.random.default_rng(seed)
    images = []
    for number in range(count):
        block = min(2 ** (number % 4), height, width)
        rows, columns = -(-height // block), -(-width // block)
        grain = rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8)
        images.append(grain.repeat(block, axis=0).repeat(block, axis=1)[:height, :width])
    return np.stack(images)
