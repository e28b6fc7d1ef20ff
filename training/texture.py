"""A random texture behind the picture: the domain's own backgrounds tell nothing any more.

B images, N of them chosen, H x W pixels, 3 channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .draws import Draws

FALLS = (0.5, 2.0)
"""Amplitudes fall with frequency to the power of minus this: photos lie near 1."""
COLOURFUL = 0.5
"""Spread of a channel's own texture beside the one that all three share."""


def textured(x_B3HW: Tensor, draws: Draws, share: float) -> Tensor:
    """Blends `share` of the images with a texture of their own: |image - factor x texture|.

    The difference keeps shapes visible on dark and on bright ground; factors are uniform in [0, 1].
    Textures are noise whose spectrum falls like that of photos.

    Args:
        x_B3HW: float32 images in [0, 1]; they are left alone.
        draws: source of all randomness, on the images' device.
        share: probability, in [0, 1], of an image to be blended; 0 draws nothing.
    """
    if not share or not len(x_B3HW):
        return x_B3HW
    size, _, height, width = x_B3HW.shape
    draw_B3 = draws.uniform(size, 3)
    noise_B4HW = draws.normal(size, 4, height, width)
    chosen = torch.nonzero(draw_B3[:, 0] < share).flatten()
    if not len(chosen):
        return x_B3HW
    fall_N = FALLS[0] + (FALLS[1] - FALLS[0]) * draw_B3[chosen, 1]
    texture = texture_of(noise_B4HW[chosen], fall_N)
    blended = (x_B3HW[chosen] - draw_B3[chosen, 2][:, None, None, None] * texture).abs_()
    return x_B3HW.index_copy(0, chosen, blended)


def texture_of(noise_N4HW: Tensor, fall_N: Tensor) -> Tensor:
    """White noise (a shared channel and three own ones) to textures that fill [0, 1]."""
    height, width = noise_N4HW.shape[2:]
    white_N3HW = noise_N4HW[:, :1] + COLOURFUL * noise_N4HW[:, 1:]
    device = noise_N4HW.device
    rows, columns = (
        torch.fft.fftfreq(height, device=device),
        torch.fft.rfftfreq(width, device=device),
    )
    frequency = torch.hypot(rows[:, None], columns[None, :]).clamp_min(1.0 / max(height, width))
    spectrum = torch.fft.rfft2(white_N3HW) * frequency ** -fall_N[:, None, None, None]
    y_N3HW = torch.fft.irfft2(spectrum, s=(height, width))
    low, high = y_N3HW.amin((1, 2, 3), keepdim=True), y_N3HW.amax((1, 2, 3), keepdim=True)
    texture: Tensor = (y_N3HW - low) / (high - low)
    return texture
