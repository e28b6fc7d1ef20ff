"""What a field camera does to a picture: one dataclass of optics, one small function a kind.

Fifteen figures describe a camera. `OPTICS` names the function that fills them for each of the 14
kinds; severity runs from 0 (a good camera) to 5 (the worst one simulated).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ArrayF = NDArray[np.float64]
Generator = np.random.Generator

REFERENCE_SIDE_PX = 32  # blur, shake and jitter are stated for this size and scale with it


def _white() -> ArrayF:
    return np.ones(3)


def _unit() -> ArrayF:
    return np.ones((1, 1, 1))


def _zero() -> ArrayF:
    return np.zeros((1, 1, 1))


@dataclass(frozen=True)
class Optics:
    """Fixed properties of one camera; the defaults change nothing but a whisper of noise.

    Brightness is in 0..1. Arrays broadcast against an image [H, W, 3].
    """

    gain: float = 1.0
    gamma: float = 1.0
    white_balance: ArrayF = field(default_factory=_white)
    multiply: ArrayF = field(default_factory=_unit)
    add: ArrayF = field(default_factory=_zero)
    haze: float = 0.0  # share of the picture replaced by fog
    fog: ArrayF = field(default_factory=_unit)  # brightness of that fog
    noise: float = 0.004  # standard deviation of the read noise
    shot: float = 0.0  # strength of the photon noise
    row_noise: ArrayF = field(default_factory=_zero)  # fixed pattern, [H, 1, 1]
    dead_pixels: NDArray[np.bool_] | None = None  # [H, W]
    dead_value: ArrayF = field(default_factory=_zero)  # [H, W, 1]
    blur_px: float = 0.0
    shake_px: int = 0
    shake_angle: float = 0.0  # radians
    jitter_px: float = 0.0  # framing, standard deviation
    rotation_deg: float = 0.0
    monochrome: bool = False
    resolution: float = 1.0  # share of the pixels per side that the camera resolves
    jpeg_quality: int = 95  # 95: no codec


@dataclass(frozen=True)
class Frame:
    """Pixel grid of a camera, with the random fields drawn on it."""

    height: int
    width: int
    rng: Generator

    @property
    def scale(self) -> float:
        """Side relative to the 32 px for which the strengths are stated."""
        return self.height / REFERENCE_SIDE_PX

    def radius(self) -> ArrayF:
        """Squared distance from the centre, [H, W, 1]; 1 at the middle of each edge."""
        y, x = np.mgrid[-1 : 1 : self.height * 1j, -1 : 1 : self.width * 1j]
        return np.asarray((x**2 + y**2)[..., None])

    def slope(self) -> ArrayF:
        """Linear gradient in a random direction, [H, W, 1], about -1.4..1.4."""
        y, x = np.mgrid[-1 : 1 : self.height * 1j, -1 : 1 : self.width * 1j]
        angle = self.rng.uniform(0, 2 * np.pi)
        return np.asarray((np.cos(angle) * x + np.sin(angle) * y)[..., None])

    def clouds(self, cells: int) -> ArrayF:
        """Smooth random field, [H, W, 1], about 0..1, with `cells` patches a side."""
        coarse = Image.fromarray(self.rng.random((cells, cells)).astype(np.float32))
        smooth = coarse.resize((self.width, self.height), Image.Resampling.BICUBIC)
        return np.asarray(smooth, dtype=np.float64)[..., None]


def night(s: float, frame: Frame) -> Optics:  # noqa: ARG001 - every kind has one signature
    """Too little light: dark, warm, with photon noise."""
    return Optics(
        gain=1 - 0.85 * s,
        shot=0.03 + 0.11 * s,
        noise=0.01 + 0.03 * s,
        white_balance=np.array([1 + 0.25 * s, 1.0, 1 - 0.25 * s]),
    )


def backlit(s: float, frame: Frame) -> Optics:
    """Sun in the frame: the subject dim, one side washed out."""
    glare = np.clip(frame.slope() * 0.7 + 0.15, 0, 1) * 0.9 * s
    return Optics(multiply=_unit() * (1 - 0.6 * s), add=glare)


def warm_lamp(s: float, frame: Frame) -> Optics:
    """Tungsten light and some vignetting. Harmless: only colour and corners shift."""
    return Optics(
        white_balance=np.array([1 + 0.35 * s, 1 + 0.02 * s, 1 - 0.6 * s]),
        multiply=1 - 0.35 * s * frame.radius(),
    )


def cool_lamp(s: float, frame: Frame) -> Optics:
    """Bluish light and some vignetting. Harmless: only colour and corners shift."""
    return Optics(
        white_balance=np.array([1 - 0.5 * s, 1 - 0.05 * s, 1 + 0.35 * s]),
        multiply=1 - 0.35 * s * frame.radius(),
    )


def defocus(s: float, frame: Frame) -> Optics:
    """Lens out of focus."""
    return Optics(blur_px=(0.3 + 2.2 * s) * frame.scale)


def shake(s: float, frame: Frame) -> Optics:
    """Moving camera: a straight smear in one direction, and loose framing."""
    return Optics(
        shake_px=1 + round(6 * s * frame.scale),
        shake_angle=frame.rng.uniform(0, np.pi),
        jitter_px=1.5 * s * frame.scale,
    )


def fog(s: float, frame: Frame) -> Optics:
    """Uneven bright fog in front of the scene."""
    return Optics(haze=0.8 * s, fog=frame.clouds(4) * 0.25 + 0.72)


def dirty_lens(s: float, frame: Frame) -> Optics:
    """Smears that darken, scatter and soften."""
    dirt = frame.clouds(7)
    return Optics(
        multiply=1 - np.clip((dirt - 0.5) * 4, 0, 1) * (0.25 + 0.5 * s),
        add=np.clip((dirt - 0.55) * 6, 0, 1) * 0.18 * s,
        blur_px=0.6 * s * frame.scale,
    )


def old_sensor(s: float, frame: Frame) -> Optics:
    """Noise, dead pixels, and rows of different offset."""
    return Optics(
        noise=0.02 + 0.1 * s,
        row_noise=frame.rng.normal(0, 0.09 * s, (frame.height, 1, 1)),
        dead_pixels=frame.rng.random((frame.height, frame.width)) < 0.03 * s,
        dead_value=frame.rng.integers(0, 2, (frame.height, frame.width, 1)).astype(np.float64),
        gamma=1 + 0.5 * s,
    )


def cheap_codec(s: float, frame: Frame) -> Optics:  # noqa: ARG001
    """Low resolution, then hard JPEG."""
    return Optics(jpeg_quality=max(4, int(45 - 40 * s)), resolution=1 - 0.3 * s)


def low_res(s: float, frame: Frame) -> Optics:  # noqa: ARG001
    """Far fewer pixels than the model was trained on."""
    return Optics(resolution=1 - 0.72 * s)


def tilted(s: float, frame: Frame) -> Optics:
    """Camera mounted askew, always to the same side."""
    side = float(frame.rng.choice([-1, 1]))
    return Optics(rotation_deg=side * (4 + 30 * s), jitter_px=0.5 * frame.scale)


def overexposed(s: float, frame: Frame) -> Optics:  # noqa: ARG001
    """Too much light."""
    return Optics(gain=1 + 0.9 * s, gamma=1 - 0.25 * s, add=_unit() * 0.06 * s)


def infrared(s: float, frame: Frame) -> Optics:
    """Night camera with its own lamp: grey, bright in the middle, noisy."""
    return Optics(
        monochrome=True,
        gamma=1 - 0.4 * s,
        multiply=1 - 0.5 * s * np.minimum(frame.radius(), 1),
        noise=0.01 + 0.05 * s,
    )


OPTICS: dict[str, Callable[[float, Frame], Optics]] = {
    kind.__name__: kind
    for kind in (
        night,
        backlit,
        warm_lamp,
        cool_lamp,
        defocus,
        shake,
        fog,
        dirty_lens,
        old_sensor,
        cheap_codec,
        low_res,
        tilted,
        overexposed,
        infrared,
    )
}
KINDS = tuple(OPTICS)
HARMLESS = ("warm_lamp", "cool_lamp")
