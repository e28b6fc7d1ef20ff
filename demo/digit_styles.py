"""How each digit domain looks: one function a domain, raw material in, [32, 32, 3] uint8 out."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .glyphs import BILINEAR, place_digit, tilt_plane

ImageU8 = NDArray[np.uint8]
ImageF = NDArray[np.float64]
Generator = np.random.Generator

SIDE_PX = 32
CANVAS_PX = 64  # rendered at twice the size, then averaged down


def draw_mnist(digit_28: ImageU8) -> ImageU8:
    """Real digit, white on black, resized from 28 to 32 px."""
    return _grey_to_rgb(_resize(digit_28))


def draw_mnist_m(digit_28: ImageU8, photos: list[ImageU8], rng: Generator) -> ImageU8:
    """Real digit blended with a photo patch, |patch - digit|.

    Source: Ganin et al., "Domain-Adversarial Training of Neural Networks", 2016, section 5.2.
    """
    patch = photo_patch(photos, SIDE_PX, rng)
    digit = _resize(digit_28).astype(np.float64)[..., None]
    return np.abs(patch - digit).astype(np.uint8)


def draw_optdigits(digit_8: ImageU8) -> ImageU8:
    """Real 8x8 ink counts (0..16), upsampled to 26 px, in a black frame of 3 px."""
    ink = Image.fromarray((digit_8.astype(np.float64) * (255 / 16)).astype(np.uint8))
    image = np.zeros((SIDE_PX, SIDE_PX), dtype=np.uint8)
    image[3:29, 3:29] = np.asarray(ink.resize((26, 26), Image.Resampling.BICUBIC))
    return _grey_to_rgb(image)


def draw_syn(digit: int, fonts: list[bytes], rng: Generator) -> ImageU8:
    """Rendered digit: many fonts, random colours, rotation, neighbours, outline, blur."""
    mask = place_digit(
        fonts[rng.integers(len(fonts))],
        digit,
        rng,
        canvas_px=CANVAS_PX,
        height_range=(0.55, 0.95),
        neighbour_share=0.45,
        rotation_deg=18.0,
    )
    ink, ground = _two_colours(rng, least_gap=55.0)
    canvas = np.broadcast_to(ground, (CANVAS_PX, CANVAS_PX, 3))
    if rng.random() < 0.5:
        canvas = np.clip(canvas + _ramp(rng) * rng.uniform(-60, 60, 3), 0, 255)
    if rng.random() < 0.35:
        outline = _coverage(mask.filter(ImageFilter.MaxFilter(5)))
        canvas = canvas * (1 - outline) + rng.integers(0, 256, 3) * outline
    coverage = _coverage(mask)
    return _shrink(canvas * (1 - coverage) + ink * coverage, blur_px=rng.uniform(0, 1.6))


def draw_street(digit: int, fonts: list[bytes], photos: list[ImageU8], rng: Generator) -> ImageU8:
    """Rendered house number: sign font over photo texture, perspective, shading, noise, JPEG."""
    mask = place_digit(
        fonts[rng.integers(len(fonts))],
        digit,
        rng,
        canvas_px=CANVAS_PX,
        height_range=(0.6, 0.95),
        neighbour_share=0.6,
        rotation_deg=7.0,
    )
    mask = tilt_plane(mask, rng, amount=0.08)
    canvas = _paint_plate(mask, photo_patch(photos, CANVAS_PX, rng), rng)
    across = np.linspace(-1, 1, CANVAS_PX)
    shading = (
        rng.uniform(-0.35, 0.35) * across[None, :] + rng.uniform(-0.25, 0.25) * across[:, None]
    )
    small = _shrink(canvas * (1 + shading[..., None]), blur_px=rng.uniform(0.2, 2.8))
    noisy = small + rng.normal(0, rng.uniform(0, 8), small.shape)
    return _through_jpeg(noisy, quality=int(rng.integers(35, 90)))


def photo_patch(photos: list[ImageU8], side_px: int, rng: Generator) -> ImageF:
    """Cut a random square out of a random photo, [side_px, side_px, 3] in 0..255."""
    photo = photos[rng.integers(len(photos))]
    cut_px = int(rng.integers(side_px, min(photo.shape[:2]) // 2))
    top = int(rng.integers(0, photo.shape[0] - cut_px))
    left = int(rng.integers(0, photo.shape[1] - cut_px))
    cut = Image.fromarray(photo[top : top + cut_px, left : left + cut_px])
    return np.asarray(cut.resize((side_px, side_px), Image.Resampling.BOX), dtype=np.float64)


def _paint_plate(mask: Image.Image, texture: ImageF, rng: Generator) -> ImageF:
    """Paint a wall or plate of one colour with some texture, a shadow, and the digit's ink."""
    wall: ImageF = rng.integers(20, 236) + rng.normal(0, 12, 3)
    share = rng.uniform(0.12, 0.6)
    canvas = wall * (1 - share) + texture * share
    brightness = wall.mean()
    lighter = brightness < 100 or (brightness < 156 and rng.random() < 0.5)
    step = rng.uniform(45, 140) * (1 if lighter else -1)
    ink = np.clip(wall + step + rng.normal(0, 18, 3), 0, 255)
    coverage = _coverage(mask.filter(ImageFilter.GaussianBlur(0.5)))
    if rng.random() < 0.4:
        offset = tuple(int(v) for v in rng.integers(-3, 4, 2))
        shadow = np.roll(coverage, offset, (0, 1)) * (1 - coverage)
        canvas = canvas * (1 - 0.5 * shadow)
    painted: ImageF = canvas * (1 - coverage) + (ink * 0.85 + texture * 0.15) * coverage
    return painted


def _two_colours(rng: Generator, least_gap: float) -> tuple[ImageF, ImageF]:
    """Draw two RGB colours whose luma (ITU-R BT.601) differs by at least `least_gap`."""
    luma = np.array([0.299, 0.587, 0.114])
    while True:
        pair = rng.integers(0, 256, (2, 3)).astype(np.float64)
        if abs(float((pair[0] - pair[1]) @ luma)) >= least_gap:
            return pair[0], pair[1]


def _ramp(rng: Generator) -> ImageF:
    """Linear gradient in a random direction, [canvas, canvas, 1]."""
    along = np.linspace(0, 1, CANVAS_PX)
    angle = rng.uniform(0, np.pi)
    ramp = np.cos(angle) * along[None, :] + np.sin(angle) * along[:, None]
    return np.asarray(ramp)[..., None]


def _coverage(mask: Image.Image) -> ImageF:
    """Ink share 0..1 per pixel, [canvas, canvas, 1]."""
    return np.asarray(mask, dtype=np.float64)[..., None] / 255.0


def _shrink(canvas: ImageF, blur_px: float) -> ImageU8:
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(blur_px))
    return np.asarray(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))


def _through_jpeg(image: ImageF, quality: int) -> ImageU8:
    buffer = io.BytesIO()
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    with Image.open(io.BytesIO(buffer.getvalue())) as decoded:
        return np.asarray(decoded.convert("RGB"))


def _resize(digit: ImageU8) -> ImageU8:
    return np.asarray(Image.fromarray(digit).resize((SIDE_PX, SIDE_PX), BILINEAR))


def _grey_to_rgb(image: ImageU8) -> ImageU8:
    return np.repeat(image[..., None], 3, axis=2)
