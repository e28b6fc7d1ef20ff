"""Simulated field sites: cameras whose quirks are drawn once, with fresh noise in every picture.

A real camera's pictures share their faults (the same dirt, the same dead pixels); independent
per-image corruptions do not reproduce that. About 1 ms a picture at 32 px.

    site = make_site("fog", severity=4, seed=7)
    picture = site.photograph(image_HWC, np.random.default_rng(1))
"""

import io
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from redshank.errors import InputError

from .site_optics import KINDS, OPTICS, Frame, Optics

ImageU8 = NDArray[np.uint8]
ArrayF = NDArray[np.floating[Any]]
Generator = np.random.Generator

WORST_SEVERITY = 5.0
BILINEAR = Image.Resampling.BILINEAR


@dataclass(frozen=True)
class Site:
    """One camera: its kind, how bad it is, and its fixed optics (none: a faithful camera)."""

    kind: str
    severity: float
    optics: Optics | None

    def photograph(self, image_HWC: ImageU8, rng: Generator) -> ImageU8:
        """Return the picture that this camera takes of a scene, [H, W, 3] uint8.

        Severity 0 returns the scene itself. The same scene and the same state of `rng` give the
        same picture.
        """
        if self.optics is None:
            return image_HWC.copy()
        framed = _frame(image_HWC, self.optics, rng)
        exposed = _expose(framed, self.optics, rng)
        return _digitise(exposed, self.optics)


def make_site(
    kind: str, *, severity: float, seed: int = 0, shape: tuple[int, int] = (32, 32)
) -> Site:
    """Draw the quirks of one camera.

    Args:
        kind: one of `KINDS`.
        severity: 0 (faithful) to 5.
        seed: two sites of one kind and seed are the same camera.
        shape: height and width of the pictures, in pixels.

    Raises:
        InputError: unknown kind, or severity outside 0..5.
    """
    if kind not in OPTICS:
        raise InputError(
            f"site kind `{kind}` is unknown", hint=f"Choose one of: {', '.join(KINDS)}."
        )
    if not 0 <= severity <= WORST_SEVERITY:
        raise InputError(
            f"site severity {severity:g} is outside 0..5",
            hint="0 is a faithful camera.",
        )
    if severity == 0:
        return Site(kind, severity, None)
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    optics = OPTICS[kind](severity / WORST_SEVERITY, Frame(*shape, rng))
    return Site(kind, severity, optics)


def _frame(image_HWC: ImageU8, optics: Optics, rng: Generator) -> ArrayF:
    """Aim and focus: rotation, framing jitter, defocus, shake. Returns brightness in 0..1."""
    picture = Image.fromarray(image_HWC)
    if optics.rotation_deg or optics.jitter_px:
        shift = (rng.normal(0, optics.jitter_px), rng.normal(0, optics.jitter_px))
        wobble_deg = rng.normal(0, 1.5) if optics.rotation_deg else 0.0
        border = np.median(image_HWC.reshape(-1, 3), axis=0)
        picture = picture.rotate(
            optics.rotation_deg + wobble_deg,
            BILINEAR,
            translate=shift,  # type: ignore[arg-type]  # floats work, the stub says int
            fillcolor=(int(border[0]), int(border[1]), int(border[2])),
        )
    if optics.blur_px:
        radius = optics.blur_px * rng.uniform(0.85, 1.15)
        picture = picture.filter(ImageFilter.GaussianBlur(radius))
    brightness = np.asarray(picture, dtype=np.float64) / 255
    return _smear(brightness, optics) if optics.shake_px else brightness


def _smear(brightness: ArrayF, optics: Optics) -> ArrayF:
    """Average the picture along the direction of the shake."""
    height, width = brightness.shape[:2]
    reach = optics.shake_px
    padded = np.pad(brightness, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    total = np.zeros_like(brightness)
    steps = np.linspace(-reach / 2, reach / 2, reach + 1)
    for step in steps:
        top = reach + round(float(np.sin(optics.shake_angle) * step))
        left = reach + round(float(np.cos(optics.shake_angle) * step))
        total += padded[top : top + height, left : left + width]
    return total / len(steps)


def _expose(brightness: ArrayF, optics: Optics, rng: Generator) -> ArrayF:
    """Light, lens and sensor: gain, gamma, colour, dirt, fog, photon and read noise."""
    if optics.monochrome:
        grey = brightness @ np.array([0.5, 0.35, 0.15])
        brightness = np.repeat(grey[..., None], 3, axis=2)
    gamma = optics.gamma * rng.uniform(0.97, 1.03)
    gain = optics.gain * rng.uniform(0.94, 1.06)
    light: ArrayF = np.clip(brightness, 1e-4, 1) ** gamma * gain
    light = light * optics.white_balance * optics.multiply + optics.add
    light = light * (1 - optics.haze) + optics.fog * optics.haze
    if optics.shot:
        photons = np.clip(light, 0, 4) * 0.9 / optics.shot**2
        light = rng.poisson(photons) * optics.shot**2 / 0.9
    light = light + rng.normal(0, optics.noise, light.shape) + optics.row_noise
    if optics.dead_pixels is not None:
        return np.where(optics.dead_pixels[..., None], optics.dead_value, light)
    return light


def _digitise(light: ArrayF, optics: Optics) -> ImageU8:
    """Quantise to 8 bits, then the camera's resolution and codec."""
    picture = Image.fromarray((np.clip(light, 0, 1) * 255).astype(np.uint8))
    if optics.resolution < 1:
        width, height = picture.size
        small = (
            max(4, int(width * optics.resolution)),
            max(4, int(height * optics.resolution)),
        )
        picture = picture.resize(small, Image.Resampling.BOX).resize((width, height), BILINEAR)
    if optics.jpeg_quality < 95:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=optics.jpeg_quality)
        with Image.open(io.BytesIO(buffer.getvalue())) as decoded:
            return np.asarray(decoded.convert("RGB"))
    return np.asarray(picture)
