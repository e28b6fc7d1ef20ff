"""Random convolutions: textures and colours change, edges stay (Xu et al., ICLR 2021).

B images, N of them chosen, H x W pixels, 3 channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .draws import Draws

KERNEL_SIZES = (1, 3, 5, 7)
LEAST_RANGE = 1e-3
"""Smallest range of values that is stretched to [0, 1]: below, an image is flat."""


def randomly_convolved(x_B3HW: Tensor, draws: Draws, share: float) -> Tensor:
    """Convolves `share` of the images, each by a kernel of its own, and mixes them with themselves.

    Kernel size, weights (He-scaled normal, 3 to 3 channels) and mixing factor (uniform in [0, 1])
    are drawn for each image. The convolved image is stretched to [0, 1] before the mixing, so the
    result stays in [0, 1].

    Args:
        x_B3HW: float32 images in [0, 1]; they are left alone.
        draws: source of all randomness, on the images' device.
        share: probability, in [0, 1], of an image to be convolved; 0 draws nothing.
    """
    if not share or not len(x_B3HW):
        return x_B3HW
    size = len(x_B3HW)
    draw_B3 = draws.uniform(size, 3)
    side = KERNEL_SIZES[-1]
    weight_B33KK = draws.normal(size, 3, 3, side, side)
    kernel_B = (draw_B3[:, 1] * len(KERNEL_SIZES)).long()
    for number, kernel_size in enumerate(KERNEL_SIZES):
        chosen = torch.nonzero((draw_B3[:, 0] < share) & (kernel_B == number)).flatten()
        x_N3HW = x_B3HW[chosen]
        convolved = convolve(x_N3HW, weight_B33KK[chosen, :, :, :kernel_size, :kernel_size])
        mixed = torch.lerp(convolved, x_N3HW, draw_B3[chosen, 2][:, None, None, None])
        x_B3HW = x_B3HW.index_copy(0, chosen, mixed)
    return x_B3HW


def convolve(x_N3HW: Tensor, weight_N33KK: Tensor) -> Tensor:
    """Each image by its own kernel (edge pixels repeated), stretched to [0, 1].

    Weights of unit variance are scaled as He et al. (2015) do: by sqrt(2 / inputs of an output);
    the factor cancels in the stretching but for images that are nearly flat.
    """
    size, _, height, width = x_N3HW.shape
    if not size:
        return x_N3HW
    kernel_size = weight_N33KK.shape[-1]
    weight = weight_N33KK.flatten(0, 1) * math.sqrt(2.0 / (3 * kernel_size**2))
    padded = functional.pad(x_N3HW, (kernel_size // 2,) * 4, mode="replicate")
    y_13NHW = functional.conv2d(padded.flatten(0, 1)[None], weight, groups=size)
    y_N3HW = y_13NHW.view(size, 3, height, width)
    low, high = torch.aminmax(y_N3HW.flatten(1), dim=1, keepdim=True)
    low, high = low[:, :, None, None], high[:, :, None, None]
    return ((y_N3HW - low) / (high - low).clamp_min(LEAST_RANGE)).clamp_(0.0, 1.0)
