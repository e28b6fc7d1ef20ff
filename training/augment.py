"""Weak and strong views of a batch, each image with its own random draw.

Shapes: B images, H x W pixels, 3 channels, K operations. Input is uint8 [B, H, W, 3]; views are
float32 [B, 3, H, W] in [0, 1]. All randomness comes from the draws, so equal seeds give equal
views. Operations run on the whole batch; an image that did not draw an operation gets its identity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .draws import Draws

SHIFT = 0.125
"""Largest shift of the weak view, as a share of the side (FixMatch: 4 of 32 pixels)."""

PHOTOMETRIC = ("brightness", "contrast", "colour", "posterize", "solarize", "sharpness")
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*PHOTOMETRIC, *GEOMETRIC)

MAX_ROTATION_DEG = 30.0
MAX_SHEAR = 0.3
MAX_TRANSLATION = 0.3  # as a share of the side
MAX_FADE = 0.9  # brightness, contrast and colour are scaled by 1 -+ this share at most
MIN_POSTERIZE_BITS = 4
GREY = 0.5
_LUMA = (0.299, 0.587, 0.114)


def weak_view(images_BHW3: Tensor, draws: Draws, *, flip: bool = False) -> Tensor:
    """Shifts each image by up to `SHIFT` of its side; mirrors half of them with `flip`.

    `flip` is off by default: a mirrored digit is another sign.
    """
    size, height, width = images_BHW3.shape[:3]
    device = images_BHW3.device
    rows_BH = _shifted_index(size, height, draws)
    cols_BW = _shifted_index(size, width, draws)
    if flip:
        mirror_B = draws.uniform(size) < 0.5
        cols_BW = torch.where(mirror_B[:, None], cols_BW.flip(1), cols_BW)
    batch_B = torch.arange(size, device=device)[:, None, None]
    return to_float(images_BHW3[batch_B, rows_BH[:, :, None], cols_BW[:, None, :]])


def labelled_view(
    images_BHW3: Tensor, draws: Draws, *, flip: bool = False, colour_jitter: float = 0.5
) -> Tensor:
    """The weak view in other colours: labels of few domains must not be learned by their colours.

    Args:
        images_BHW3: uint8 images.
        draws: source of all randomness, on the images' device.
        flip: mirror half of the images.
        colour_jitter: 0 to 1: each channel is scaled by 1 -+ this at most, and the image is
            inverted (dark on light for light on dark) with this probability.
    """
    return recoloured(weak_view(images_BHW3, draws, flip=flip), colour_jitter, draws)


def strong_view(
    images_BHW3: Tensor,
    draws: Draws,
    *,
    operations: int = 2,
    cutout: float = 0.5,
    flip: bool = False,
    colour_jitter: float = 0.5,
) -> Tensor:
    """The weak view after `operations` random operations an image, other colours, and a cutout.

    After RandAugment (Cubuk et al., 2020) with a random magnitude, as FixMatch uses it. Beside the
    paper's, each image draws different operations, they are applied in the order of `OPERATIONS`,
    all geometric ones are one resampling, and equalising operations are left out: they need a
    histogram. Colours change as in `labelled_view`.

    Args:
        images_BHW3: uint8 images.
        draws: source of all randomness, on the images' device.
        operations: how many different operations each image draws, 0 to K.
        cutout: largest side of the grey square, as a share of the image's side, 0 to 1.
        flip: mirror half of the images.
        colour_jitter: see `labelled_view`.
    """
    return strengthened(
        weak_view(images_BHW3, draws, flip=flip),
        draws,
        operations=operations,
        cutout=cutout,
        colour_jitter=colour_jitter,
    )


def strengthened(
    x_B3HW: Tensor,
    draws: Draws,
    *,
    operations: int = 2,
    cutout: float = 0.5,
    colour_jitter: float = 0.5,
) -> Tensor:
    """What `strong_view` does after the weak view; arguments as there."""
    if not len(x_B3HW):
        return x_B3HW
    strength_BK = draw_strengths(len(x_B3HW), operations, draws)
    x_B3HW = _photometric(x_B3HW, strength_BK[:, : len(PHOTOMETRIC)])
    x_B3HW = _geometric(x_B3HW, strength_BK[:, len(PHOTOMETRIC) :])
    x_B3HW = recoloured(x_B3HW, colour_jitter, draws)
    return _cutout(x_B3HW, cutout, draws)


def draw_strengths(size: int, operations: int, draws: Draws) -> Tensor:
    """Which operations each image draws, how strongly: [B, K] in [-1, 1], 0 for the others.

    Each image draws `operations` different ones, every set of them equally likely, each with a
    strength uniform in [-1, 1]; 0 is the identity of every operation.
    """
    rank_BK = draws.uniform(size, len(OPERATIONS))
    drawn_BK = rank_BK.argsort(dim=1).argsort(dim=1) < operations
    magnitude_BK = 2.0 * draws.uniform(size, len(OPERATIONS)) - 1.0
    return magnitude_BK * drawn_BK


def to_float(images_BHW3: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] to float32 [B, 3, H, W] in [0, 1], keeping the memory order (NHWC)."""
    return images_BHW3.permute(0, 3, 1, 2).float() / 255.0


def _shifted_index(size: int, length: int, draws: Draws) -> Tensor:
    limit = round(SHIFT * length)
    shift_B1 = draws.integers(-limit, limit + 1, size, 1)
    return (torch.arange(length, device=draws.device) + shift_B1).clamp(0, length - 1)


def _photometric(x_B3HW: Tensor, strength_BK: Tensor) -> Tensor:
    """Brightness, contrast, colour, posterize, solarize, sharpness, each of strength in [-1, 1]."""
    bright, contrast, colour, poster, solar, sharp = strength_BK[:, :, None, None, None].unbind(1)
    x_B3HW = _faded(x_B3HW, *(1.0 + MAX_FADE * fade for fade in (bright, contrast, colour)))
    x_B3HW = _sharpened(x_B3HW, sharp)
    bits = torch.ceil(8.0 - (8 - MIN_POSTERIZE_BITS) * poster.abs())
    levels = torch.exp2(bits)
    poster_B3HW = torch.floor(x_B3HW * (levels - 1e-3)) / (levels - 1.0)
    x_B3HW = torch.where(poster != 0, poster_B3HW, x_B3HW)
    threshold = 1.0 - solar.abs()
    return torch.where((solar != 0) & (x_B3HW >= threshold), 1.0 - x_B3HW, x_B3HW)


def _faded(x_B3HW: Tensor, bright: Tensor, contrast: Tensor, colour: Tensor) -> Tensor:
    """Scales brightness, then contrast, then colour: one 3 x 3 matrix and one offset an image.

    With x the pixel, m the image's mean luma and l the luma weights (they sum to 1):
    contrast * bright * (colour I + (1 - colour) 1 l^T) x + (1 - contrast) * bright * m.
    """
    size, _, height, width = x_B3HW.shape
    luma_3 = x_B3HW.new_tensor(_LUMA)
    pixels_BP3 = x_B3HW.permute(0, 2, 3, 1).reshape(size, height * width, 3)
    bright, contrast, colour = (factor.view(size, 1, 1) for factor in (bright, contrast, colour))
    mean_B11 = (pixels_BP3.mean(1, keepdim=True) * luma_3).sum(2, keepdim=True)
    eye_33 = torch.eye(3, dtype=x_B3HW.dtype, device=x_B3HW.device)
    matrix_B33 = contrast * bright * (colour * eye_33 + (1.0 - colour) * luma_3)
    offset_B11 = (1.0 - contrast) * bright * mean_B11
    faded_BP3 = torch.baddbmm(offset_B11, pixels_BP3, matrix_B33.transpose(1, 2))
    return faded_BP3.clamp_(0.0, 1.0).view(size, height, width, 3).permute(0, 3, 1, 2)


def _sharpened(x_B3HW: Tensor, strength: Tensor) -> Tensor:
    """Towards the 3 x 3 mean for negative strength, away from it for positive."""
    smooth_B3HW = x_B3HW
    for dim in (2, 3):  # slices and sums: three times as fast as avg_pool2d on a CPU
        length = x_B3HW.shape[dim]
        first, last = smooth_B3HW.narrow(dim, 0, 1), smooth_B3HW.narrow(dim, length - 1, 1)
        padded = torch.cat([first, smooth_B3HW, last], dim=dim)
        parts = [padded.narrow(dim, offset, length) for offset in range(3)]
        smooth_B3HW = (parts[0] + parts[1] + parts[2]) / 3.0
    return torch.lerp(smooth_B3HW, x_B3HW, 1.0 + strength).clamp(0.0, 1.0)


def _geometric(x_B3HW: Tensor, strength_BK: Tensor) -> Tensor:
    """Rotation, shears and translations of strength in [-1, 1], in one bilinear resampling."""
    rotate, shear_x, shear_y, move_x, move_y = strength_BK.unbind(1)
    angle = rotate * math.radians(MAX_ROTATION_DEG)
    cos, sin = angle.cos(), angle.sin()
    kx, ky = MAX_SHEAR * shear_x, MAX_SHEAR * shear_y
    # rotation times shear; translations are in half sides, the unit of affine_grid
    row_x = torch.stack([cos - sin * ky, cos * kx - sin, 2.0 * MAX_TRANSLATION * move_x], dim=1)
    row_y = torch.stack([sin + cos * ky, sin * kx + cos, 2.0 * MAX_TRANSLATION * move_y], dim=1)
    theta_B23 = torch.stack([row_x, row_y], dim=1)
    grid_BHW2 = functional.affine_grid(theta_B23, list(x_B3HW.shape), align_corners=False)
    return functional.grid_sample(x_B3HW, grid_BHW2, padding_mode="border", align_corners=False)


def recoloured(x_B3HW: Tensor, jitter: float, draws: Draws) -> Tensor:
    """Inversion and tint of `labelled_view`."""
    if not jitter:
        return x_B3HW
    draw_B4 = draws.uniform(len(x_B3HW), 4)
    gain_B3 = 1.0 + jitter * (2.0 * draw_B4[:, :3] - 1.0)
    invert_B111 = (draw_B4[:, 3] < jitter)[:, None, None, None]
    x_B3HW = torch.where(invert_B111, 1.0 - x_B3HW, x_B3HW)
    return (x_B3HW * gain_B3[:, :, None, None]).clamp(0.0, 1.0)


def _cutout(x_B3HW: Tensor, largest: float, draws: Draws) -> Tensor:
    size, _, height, width = x_B3HW.shape
    device = x_B3HW.device
    side_B, y_B, x_B = draws.several(3, size)
    half_B = (largest * side_B / 2.0)[:, None]
    rows_H = (torch.arange(height, device=device) + 0.5) / height
    cols_W = (torch.arange(width, device=device) + 0.5) / width
    in_y_BH = (rows_H - y_B[:, None]).abs() < half_B
    in_x_BW = (cols_W - x_B[:, None]).abs() < half_B
    inside_B1HW = (in_y_BH[:, :, None] & in_x_BW[:, None, :])[:, None]
    return torch.where(inside_B1HW, GREY, x_B3HW)
