"""Views in another style: how an image looks changes, what it shows stays.

Shapes: B images, H x W pixels, 3 channels, float32 in [0, 1]. Two views borrow the look of an image
of another domain in the same step, two draw a look at random. Each image draws for itself whether
and how far it changes, whatever other images drew; equal seeds give equal views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from .augment import to_float
from .draws import Draws
from .random_convolution import randomly_convolved
from .texture import textured

LEAST_AMPLITUDE = 1e-3
"""Fourier amplitudes below are rounding: they have no phase to keep."""
LEAST_SPREAD = 0.02
"""Channels of a smaller standard deviation are flat: their noise is not blown up."""

Mix: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(images, their partners, factors in [0, 1]) to images."""


@dataclass(frozen=True)
class StyleShares:
    """Probability, in [0, 1], with which an image takes each change; all 0: none."""

    fourier: float = 0.0
    channel_statistics: float = 0.0
    random_convolution: float = 0.0
    texture: float = 0.0

    @property
    def any(self) -> bool:
        """Whether images change at all."""
        return any((self.fourier, self.channel_statistics, self.random_convolution, self.texture))


@dataclass(frozen=True)
class Neighbours:
    """Whose looks can be borrowed: the A images of the step, as they are in the data."""

    images_AHW3: Tensor | None
    """uint8; None where no share asks for them."""
    domain_A: Tensor
    """Number of each image's domain."""


def styled(x_B3HW: Tensor, neighbours: Neighbours, draws: Draws, shares: StyleShares) -> Tensor:
    """The images, each with its own draw of every change whose share is above 0.

    Args:
        x_B3HW: float32 images in [0, 1], views of the neighbours themselves or of the draws' share
            of them; they are left alone. An image keeps its amplitudes and statistics where no
            neighbour is of another domain.
        neighbours: all images of the step.
        draws: source of all randomness, on the images' device.
        shares: how many of the images take each change.

    Returns:
        Images of the same shape in [0, 1]; the given tensor itself where all shares are 0.
    """
    if not shares.any or not len(x_B3HW):
        return x_B3HW
    x_B3HW = _mixed(x_B3HW, neighbours, draws, shares.fourier, mix_amplitudes)
    x_B3HW = _mixed(x_B3HW, neighbours, draws, shares.channel_statistics, mix_statistics)
    x_B3HW = textured(x_B3HW, draws, shares.texture)
    return randomly_convolved(x_B3HW, draws, shares.random_convolution)


def mix_amplitudes(x_B3HW: Tensor, other_B3HW: Tensor, factor_B: Tensor) -> Tensor:
    """Phases of `x`, Fourier amplitudes between its own (factor 0) and the other's (1).

    Amplitudes carry the style, phases the shapes (FACT, Xu et al., CVPR 2021, equation 3).
    """
    size_HW = x_B3HW.shape[2:]
    own, other = torch.fft.rfft2(x_B3HW), torch.fft.rfft2(other_B3HW).abs()
    amplitude = own.abs()
    mixed = torch.lerp(amplitude, other, factor_B[:, None, None, None])
    own = own * (mixed / amplitude.clamp_min(LEAST_AMPLITUDE))
    y_B3HW: Tensor = torch.fft.irfft2(own, s=size_HW)
    return y_B3HW.clamp_(0.0, 1.0)


def mix_statistics(x_B3HW: Tensor, other_B3HW: Tensor, factor_B: Tensor) -> Tensor:
    """Each channel's mean and spread between its own (factor 0) and the other's (1).

    Adaptive instance normalisation (Huang & Belongie, ICCV 2017) with the mixed statistics of
    MixStyle (Zhou et al., ICLR 2021), on pixels.
    """
    factor = factor_B[:, None, None, None]
    mean, spread = _statistics(x_B3HW)
    other_mean, other_spread = _statistics(other_B3HW)
    whitened = (x_B3HW - mean) / spread
    mixed_spread = torch.lerp(spread, other_spread, factor)
    return (whitened * mixed_spread + torch.lerp(mean, other_mean, factor)).clamp_(0.0, 1.0)


def partners(domain_A: Tensor, draws: Draws) -> Tensor:
    """For each of B images the number of a random neighbour of another domain, -1 without any."""
    size = len(domain_A) if draws.share is None else draws.share.size
    own_B = domain_A if draws.share is None else domain_A[draws.share.rows]
    score_BA = draws.uniform(size, len(domain_A))
    score_BA = torch.where(own_B[:, None] != domain_A[None, :], score_BA, -1.0)
    best_B, partner_B = score_BA.max(1)
    return torch.where(best_B < 0.0, -1, partner_B)


def _mixed(x_B3HW: Tensor, neighbours: Neighbours, draws: Draws, share: float, mix: Mix) -> Tensor:
    if not share:
        return x_B3HW
    assert neighbours.images_AHW3 is not None  # `Views.borrow` says when they are needed
    partner_B = partners(neighbours.domain_A, draws)
    draw_B2 = draws.uniform(len(x_B3HW), 2)
    chosen = torch.nonzero((draw_B2[:, 0] < share) & (partner_B >= 0)).flatten()
    if not len(chosen):
        return x_B3HW
    other_N3HW = to_float(neighbours.images_AHW3[partner_B[chosen]])
    return x_B3HW.index_copy(0, chosen, mix(x_B3HW[chosen], other_N3HW, draw_B2[chosen, 1]))


def _statistics(x_B3HW: Tensor) -> tuple[Tensor, Tensor]:
    spread, mean = torch.std_mean(x_B3HW, dim=(2, 3), keepdim=True, correction=0)
    return mean, spread.clamp_min(LEAST_SPREAD)
