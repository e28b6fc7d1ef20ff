"""What the monitor wants to know of a picture's pixels: difference hash and brightness, by batch.

The difference hash is that of the grey picture (ITU-R 601 luma) shrunk to 9 x 8 by Pillow's
antialiased bilinear filter: bit = a pixel is brighter than its left neighbour. Both steps are done
here for a whole batch at once, in Pillow's own fixed-point arithmetic (its `Convert.c` and
`Resample.c`): calling Pillow for each picture costs as much as a small network. The bits are those
of Pillow; of pictures taller than wide, which Pillow 13 shrinks in the other order, nearly all.
Shapes: N images, H x W pixels, P pixels in a row.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from redshank.preprocess import ImageArray

Array: TypeAlias = npt.NDArray[Any]
Fingerprint: TypeAlias = tuple[str, float, float]
"""`dhash_hex` and both values of `brightness`."""

_COLUMNS, _ROWS = 9, 8
_LUMA_3 = np.array([19595, 38470, 7471], np.float32) / np.float32(2**16)
"""Times 2^16 these are whole, and sums stay under 2^24 there: float32 holds them exactly."""
_ONE = 2.0**22
"""The filter's weights are multiples of one in so many."""


def fingerprints(images_NHW3: ImageArray) -> list[Fingerprint]:
    """`dhash_hex` and `brightness` of each image, N >= 1."""
    size, height, width, _ = images_NHW3.shape
    levels_P = _grey(images_NHW3)
    narrow_P9 = _rounded(levels_P.reshape(-1, width) @ _weights(width, _COLUMNS))
    small_N89 = _rounded(_weights(height, _ROWS).T @ narrow_P9.reshape(size, height, _COLUMNS))
    brighter_N88 = small_N89[:, :, 1:] > small_N89[:, :, :-1]
    hashes = np.packbits(brighter_N88).tobytes().hex()
    mean_N, spread_N = _means_and_spreads(levels_P.reshape(size, -1))
    each = [hashes[start : start + 16] for start in range(0, 16 * size, 16)]
    return list(zip(each, mean_N.tolist(), spread_N.tolist(), strict=True))


def fingerprint(image_HW3: ImageArray) -> Fingerprint:
    """`dhash_hex` and both values of `brightness`."""
    return fingerprints(image_HW3[np.newaxis])[0]


def dhash_hex(image_HW3: ImageArray) -> str:
    """64-bit difference hash, 16 hex digits; near-duplicate frames differ in few bits."""
    return fingerprint(image_HW3)[0]


def brightness(image_HW3: ImageArray) -> tuple[float, float]:
    """Mean and standard deviation of the grey level (ITU-R 601 luma), both in [0, 1]."""
    return fingerprint(image_HW3)[1:]


def _grey(images_NHW3: ImageArray) -> Array:
    """Grey levels 0 to 255 of all pixels in a row, as whole numbers in float64."""
    levels_P = images_NHW3.reshape(-1, 3).astype(np.float32) @ _LUMA_3
    return np.asarray(_rounded(levels_P), dtype=np.float64)


def _rounded(levels: Array) -> Array:
    """Whole levels; in place."""
    levels += 0.5
    return np.asarray(np.floor(levels, out=levels))


def _means_and_spreads(levels_NP: Array) -> tuple[Array, Array]:
    """Of levels 0 to 255, by their sums and those of their squares; both in [0, 1]."""
    pixels = levels_NP.shape[1]
    mean_N = np.add.reduce(levels_NP, axis=1) / pixels
    variance_N = np.vecdot(levels_NP, levels_NP) / pixels - mean_N * mean_N
    return mean_N / 255.0, np.sqrt(np.maximum(variance_N, 0.0)) / 255.0


@lru_cache(maxsize=16)
def _weights(size: int, wanted: int) -> Array:
    """Weights of Pillow's bilinear filter, float64 [size, wanted]; each column sums to about 1."""
    scale = size / wanted
    reach = max(scale, 1.0)
    weights = np.zeros((size, wanted))
    for column in range(wanted):
        centre = (column + 0.5) * scale
        first, end = max(0, int(centre - reach + 0.5)), min(size, int(centre + reach + 0.5))
        taps = 1.0 - np.abs((np.arange(first, end) - centre + 0.5) / reach)
        taps = np.maximum(taps, 0.0)
        weights[first:end, column] = np.floor(taps / taps.sum() * _ONE + 0.5) / _ONE
    return weights
