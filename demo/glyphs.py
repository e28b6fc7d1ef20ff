"""Digits drawn from fonts: one centred glyph, maybe with neighbours, rotation and perspective.

A mask is a Pillow image of mode L: 255 where there is ink.
"""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Generator = np.random.Generator

BILINEAR = Image.Resampling.BILINEAR
LIGHTEST_WEIGHT = 300
BOLDEST_WEIGHT = 800


def open_face(font: bytes, size_px: int, rng: Generator) -> ImageFont.FreeTypeFont:
    """Open a font file at a size; a variable font gets a random weight between 300 and 800."""
    face = ImageFont.truetype(io.BytesIO(font), size_px)
    try:
        axes = face.get_variation_axes()
    except OSError:  # not a variable font
        return face
    values = []
    for axis in axes:
        lowest, highest = axis["minimum"] or 0, axis["maximum"] or 0
        if b"eight" in (axis["name"] or b""):
            low, high = max(LIGHTEST_WEIGHT, lowest), min(BOLDEST_WEIGHT, highest)
            values.append(float(rng.integers(low, high + 1)))
        else:
            values.append(float(axis["default"] or 0))
    face.set_variation_by_axes(values)
    return face


def glyph_mask(face: ImageFont.FreeTypeFont, text: str, pad_px: int = 4) -> Image.Image:
    """Draw `text` with a margin of `pad_px` on each side."""
    left, top, right, bottom = (int(edge) for edge in face.getbbox(text))
    mask = Image.new("L", (right - left + 2 * pad_px, bottom - top + 2 * pad_px), 0)
    ImageDraw.Draw(mask).text((pad_px - left, pad_px - top), text, font=face, fill=255)
    return mask


def place_digit(
    font: bytes,
    digit: int,
    rng: Generator,
    *,
    canvas_px: int,
    height_range: tuple[float, float],
    neighbour_share: float,
    rotation_deg: float,
) -> Image.Image:
    """Return a [canvas_px, canvas_px] mask of `digit`, centred to 5 %.

    Args:
        font: bytes of the font file.
        digit: 0..9.
        rng: source of every random choice.
        canvas_px: side of the mask.
        height_range: lowest and highest glyph height as a share of the canvas.
        neighbour_share: probability of another digit on the left, and again on the right.
        rotation_deg: the whole row of digits turns by at most this angle.
    """
    height_px = canvas_px * rng.uniform(*height_range)
    face = open_face(font, int(height_px), rng)
    glyph = _scaled(glyph_mask(face, str(digit)), height_px)
    row = Image.new("L", (canvas_px * 3, canvas_px * 2), 0)
    jitter = rng.uniform(-0.05, 0.05, 2) * canvas_px
    centre = (canvas_px * 1.5 + float(jitter[0]), canvas_px + float(jitter[1]))
    _paste_centred(row, glyph, centre)
    for side in (-1, 1):
        if rng.random() < neighbour_share:
            other = _scaled(glyph_mask(face, str(rng.integers(10))), height_px)
            gap_px = (glyph.width + other.width) / 2 + rng.uniform(0.0, 0.1) * canvas_px
            _paste_centred(row, other, (centre[0] + side * gap_px, centre[1]))
    row = row.rotate(rng.uniform(-rotation_deg, rotation_deg), BILINEAR, center=centre)
    return row.crop((canvas_px, canvas_px // 2, 2 * canvas_px, canvas_px // 2 + canvas_px))


def tilt_plane(mask: Image.Image, rng: Generator, amount: float) -> Image.Image:
    """Move each corner by up to `amount` of the side: a plate seen from an angle."""
    width, height = mask.size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=float)
    moved = corners + rng.uniform(-amount, amount, (4, 2)) * (width, height)
    rows = []
    for (x, y), (u, v) in zip(moved, corners, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    coefficients = np.linalg.solve(np.array(rows), corners.reshape(-1))
    return mask.transform(
        mask.size, Image.Transform.PERSPECTIVE, coefficients.tolist(), resample=BILINEAR
    )


def _scaled(glyph: Image.Image, height_px: float) -> Image.Image:
    """Scale a drawn glyph to the wanted height (fonts fill their em square differently)."""
    factor = 0.95 * height_px / glyph.height
    return glyph.resize(
        (max(4, int(glyph.width * factor)), max(4, int(glyph.height * factor))),
        BILINEAR,
    )


def _paste_centred(row: Image.Image, glyph: Image.Image, centre: tuple[float, float]) -> None:
    row.paste(glyph, (int(centre[0] - glyph.width / 2), int(centre[1] - glyph.height / 2)))
