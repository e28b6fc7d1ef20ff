"""Known harm for labelled images: families of corruptions, each with severities up to 1.

They teach the accuracy maps how a model's answers look when it fails. They are no model of any
camera: what matters is that they differ from one another. Every family works for every image size;
lengths are shares of the image's side. Shapes: N images, H x W pixels, values in 0..1.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[Any]
"""float32 in this module."""
Rng = np.random.Generator
Size = tuple[int, int]
BILINEAR = Image.Resampling.BILINEAR


def corrupt(images_NHW3: Pixels, family: str, *, severity: float, seed: int = 0) -> Pixels:
    """Copies of images under one family of corruptions.

    Args:
        images_NHW3: uint8 RGB, all of one size.
        family: a key of `FAMILIES`.
        severity: 0 (nothing happens) to 1 (most answers should be hard to get right).
        seed: the same seed gives the same copies.

    Raises:
        ValueError: unknown family, or severity outside 0..1.
    """
    if family not in FAMILIES:
        raise ValueError(f"family {family!r}, expected one of {', '.join(FAMILIES)}")
    if not 0 <= severity <= 1:
        raise ValueError(f"severity {severity}, expected 0 to 1")
    if severity == 0 or not len(images_NHW3):
        return images_NHW3.copy()
    rng = np.random.default_rng([seed, zlib.crc32(family.encode()), round(1000 * severity)])
    light: Floats = images_NHW3.astype(np.float32) / 255
    return _bytes(FAMILIES[family](light, severity, rng))


def noise(x: Floats, s: float, rng: Rng) -> Floats:
    """Independent noise in every pixel and colour."""
    return np.asarray(x + np.float32(0.5 * s) * rng.standard_normal(x.shape, dtype=np.float32))


def specks(x: Floats, s: float, rng: Rng) -> Floats:
    """Pixels that are black or white, whatever they see."""
    hit = rng.random((*x.shape[:3], 1), dtype=np.float32)
    return np.where(hit < 0.3 * s, np.float32(rng.random(hit.shape) < 0.5), x)


def blur(x: Floats, s: float, rng: Rng) -> Floats:  # noqa: ARG001 - one signature for all
    """Gaussian blur."""
    return _each(x, lambda image: image.filter(ImageFilter.GaussianBlur(_px(x, 0.11 * s))))


def smear(x: Floats, s: float, rng: Rng) -> Floats:
    """The mean along a straight line of one direction an image."""
    reach = max(1.0, _px(x, 0.3 * s))
    angle_N = rng.uniform(0, np.pi, len(x))
    steps = np.linspace(-reach / 2, reach / 2, int(reach) + 2)
    total = np.zeros_like(x)
    for n, angle in enumerate(angle_N):
        for step in steps:
            shift = (round(float(np.sin(angle) * step)), round(float(np.cos(angle) * step)))
            total[n] += np.roll(x[n], shift, axis=(0, 1))
    return np.asarray(total / np.float32(len(steps)))


def dark(x: Floats, s: float, rng: Rng) -> Floats:
    """Little light, and the grain that comes with it."""
    grain = rng.standard_normal(x.shape, dtype=np.float32)
    return x * np.float32(1 - 0.9 * s) + np.float32(0.04 * s) * grain


def bright(x: Floats, s: float, rng: Rng) -> Floats:  # noqa: ARG001
    """Too much light: the upper end is cut off."""
    return x * np.float32(1 + 2.5 * s) + np.float32(0.15 * s)


def flat(x: Floats, s: float, rng: Rng) -> Floats:  # noqa: ARG001
    """Low contrast around the image's own mean."""
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    return np.asarray(mean + (x - mean) * np.float32(1 - 0.95 * s))


def tint(x: Floats, s: float, rng: Rng) -> Floats:
    """A colour cast, another one for every image."""
    gain = 1 + 0.9 * s * rng.uniform(-1, 0.4, (len(x), 1, 1, 3))
    return np.asarray(x * gain.astype(np.float32))


def grey(x: Floats, s: float, rng: Rng) -> Floats:
    """Colours lost, one channel more than the others, with some gamma."""
    share = rng.dirichlet((1, 1, 1), len(x)).astype(np.float32)
    mono = (x * share[:, None, None]).sum(axis=3, keepdims=True) ** np.float32(1 - 0.6 * s)
    return np.asarray(x * np.float32(1 - s) + mono * np.float32(s))


def codec(x: Floats, s: float, rng: Rng) -> Floats:  # noqa: ARG001
    """JPEG of low quality."""
    return _each(x, lambda image: _jpeg(image, max(2, round(28 * (1 - s)))))


def coarse(x: Floats, s: float, rng: Rng) -> Floats:  # noqa: ARG001
    """Fewer pixels than the network takes."""
    side = x.shape[1:3]
    small = (max(2, round(side[1] * (1 - 0.82 * s))), max(2, round(side[0] * (1 - 0.82 * s))))
    box, size = Image.Resampling.BOX, (side[1], side[0])
    return _each(x, lambda image: image.resize(small, box).resize(size, Image.Resampling.BICUBIC))


def haze(x: Floats, s: float, rng: Rng) -> Floats:
    """Something bright and uneven in front of the scene."""
    veil = 0.6 + 0.4 * _clouds(rng, len(x), x.shape[1:3], 3)
    return np.asarray(x * np.float32(1 - 0.9 * s) + veil * np.float32(0.9 * s))


def stains(x: Floats, s: float, rng: Rng) -> Floats:
    """Dark and bright blotches."""
    blot = np.clip((_clouds(rng, len(x), x.shape[1:3], 6) - 0.5) * 5, -1, 1)
    stained = x * (1 - np.float32(0.9 * s) * np.maximum(blot, 0))
    return np.asarray(stained + np.float32(0.7 * s) * np.maximum(-blot, 0))


def slope(x: Floats, s: float, rng: Rng) -> Floats:
    """Light that falls off to one side, and glare on the other."""
    height, width = x.shape[1:3]
    y, z = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi, (len(x), 1, 1)).astype(np.float32)
    ramp = (np.cos(angle) * y + np.sin(angle) * z)[..., None]
    shaded = x * (1 - np.float32(0.75 * s) * (1 - ramp) / 2)
    return np.asarray(shaded + np.float32(0.8 * s) * np.maximum(ramp, 0))


def turned(x: Floats, s: float, rng: Rng) -> Floats:
    """Rotation to one side or the other."""
    angles = iter(rng.choice([-1, 1], len(x)) * s * rng.uniform(30, 50, len(x)))
    return _each(x, lambda image: image.rotate(next(angles), BILINEAR, fillcolor=_border(image)))


def sheared(x: Floats, s: float, rng: Rng) -> Floats:
    """Shear along one axis."""
    amounts = iter(0.9 * s * rng.uniform(0.6, 1, len(x)) * rng.choice([-1, 1], len(x)))

    def shear(image: Image.Image) -> Image.Image:
        k = next(amounts)
        data = (1, k, -k * image.height / 2, 0, 1, 0)
        affine = Image.Transform.AFFINE
        return image.transform(image.size, affine, data, BILINEAR, fillcolor=_border(image))

    return _each(x, shear)


def shifted(x: Floats, s: float, rng: Rng) -> Floats:
    """Loose framing: the object partly outside, nearer or farther."""
    height, width = x.shape[1:3]
    offsets = iter(rng.uniform(-0.4, 0.4, (len(x), 2)) * s)
    scales = iter(np.exp(rng.uniform(-0.7, 0.7, len(x)) * s))

    def frame(image: Image.Image) -> Image.Image:
        (dy, dx), k = next(offsets), next(scales)
        left, top = (width * (1 - k) / 2 + dx * width, height * (1 - k) / 2 + dy * height)
        affine, data = Image.Transform.AFFINE, (k, 0, left, 0, k, top)
        return image.transform(image.size, affine, data, BILINEAR, fillcolor=_border(image))

    return _each(x, frame)


def waves(x: Floats, s: float, rng: Rng) -> Floats:
    """Rows and columns moved in waves: shapes bend."""
    height, width = x.shape[1:3]
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    out = np.empty_like(x)
    for n in range(len(x)):
        phase, cycles = rng.uniform(0, 2 * np.pi, 2), rng.uniform(1, 2.5, 2)
        dy = 0.13 * s * height * np.sin(2 * np.pi * cycles[0] * columns / width + phase[0])
        dx = 0.13 * s * width * np.sin(2 * np.pi * cycles[1] * rows / height + phase[1])
        y = np.clip(np.rint(rows + dy), 0, height - 1).astype(int)
        z = np.clip(np.rint(columns + dx), 0, width - 1).astype(int)
        out[n] = x[n][y, z]
    return out


def covered(x: Floats, s: float, rng: Rng) -> Floats:
    """An even rectangle in front of a part of the image."""
    height, width = x.shape[1:3]
    out = x.copy()
    for n in range(len(x)):
        share = np.sqrt(s * rng.uniform(0.3, 0.6))
        tall, wide = max(1, round(height * share)), max(1, round(width * share))
        top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
        out[n, top : top + tall, left : left + wide] = rng.random(3)
    return out


FAMILIES: dict[str, Callable[[Floats, float, Rng], Floats]] = {
    family.__name__: family
    for family in (
        *(noise, specks, blur, smear, dark, bright, flat, tint, grey, codec, coarse, haze),
        *(stains, slope, turned, sheared, shifted, waves, covered),
    )
}


def _px(x: Floats, share: float) -> float:
    return share * float(min(x.shape[1:3]))


def _bytes(x: Floats) -> Pixels:
    return np.asarray(np.clip(x, 0, 1) * 255 + 0.5, dtype=np.uint8)


def _each(x: Floats, change: Callable[[Image.Image], Image.Image]) -> Floats:
    changed = [np.asarray(change(Image.fromarray(image))) for image in _bytes(x)]
    return np.stack(changed).astype(np.float32) / 255


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    with Image.open(io.BytesIO(buffer.getvalue())) as decoded:
        return decoded.convert("RGB")


def _border(image: Image.Image) -> tuple[int, int, int]:
    """What lies beyond the frame: the median colour."""
    red, green, blue = np.median(np.asarray(image).reshape(-1, 3), axis=0)
    return int(red), int(green), int(blue)


def _clouds(rng: Rng, n: int, size: Size, cells: int) -> Floats:
    """Smooth random fields, [N, H, W, 1] in 0..1."""
    grids = rng.random((n, cells, cells), dtype=np.float32)
    bicubic, shape = Image.Resampling.BICUBIC, (size[1], size[0])
    fields = [np.asarray(Image.fromarray(grid).resize(shape, bicubic)) for grid in grids]
    return np.asarray(np.clip(np.stack(fields)[..., None], 0, 1))
