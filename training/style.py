"""Views in another style: how an image looks changes, what it shows stays.

Shapes: B images, H x W pixels, 3 channels, float32 in [0, 1]. Two views borrow the look of an image
of another domain in the same batch, two draw a look at random. Each image draws for itself whether
and how far it changes; all draws come from the generator and do not depend on what other images
drew, so equal seeds give equal views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Generator, Tensor

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


def styled(x_B3HW: Tensor, domain_B: Tensor, generator: Generator, shares: StyleShares) -> Tensor:
    """The images, each with its own draw of every change whose share is above 0.

    Args:
        x_B3HW: float32 images in [0, 1]; they are left alone.
        domain_B: number of each image's domain. An image whose batch holds no other domain keeps
            its amplitudes and statistics.
        generator: source of all randomness, on the images' device.
        shares: how many of the images take each change.

    Returns:
        Images of the same shape in [0, 1]; the given tensor itself where all shares are 0.
    """
    if not shares.any or not len(x_B3HW):
        return x_B3HW
    x_B3HW = _mixed(x_B3HW, domain_B, generator, shares.fourier, mix_amplitudes)
    x_B3HW = _mixed(x_B3HW, domain_B, generator, shares.channel_statistics, mix_statistics)
    x_B3HW = textured(x_B3HW, generator, shares.texture)
    return randomly_convolved(x_B3HW, generator, shares.random_convolution)


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


def partners(domain_B: Tensor, generator: Generator) -> Tensor:
    """For each image the number of a random one of another domain; its own where there is none."""
    score_BB = torch.rand(len(domain_B), len(domain_B), generator=generator, device=domain_B.device)
    foreign_BB = domain_B[:, None] != domain_B[None, :]
    score_BB = torch.where(foreign_BB, score_BB + 1.0, 0.0)
    return (score_BB + 0.5 * torch.eye(len(domain_B), device=domain_B.device)).argmax(1)


def _mixed(
    x_B3HW: Tensor, domain_B: Tensor, generator: Generator, share: float, mix: Mix
) -> Tensor:
    if not share:
        return x_B3HW
    partner_B = partners(domain_B, generator)
    draw_B2 = torch.rand(len(x_B3HW), 2, generator=generator, device=x_B3HW.device)
    alone_B = partner_B == torch.arange(len(x_B3HW), device=x_B3HW.device)
    chosen = torch.nonzero((draw_B2[:, 0] < share) & ~alone_B).flatten()
    if not len(chosen):
        return x_B3HW
    mixed = mix(x_B3HW[chosen], x_B3HW[partner_B[chosen]], draw_B2[chosen, 1])
    return x_B3HW.index_copy(0, chosen, mixed)


def _statistics(x_B3HW: Tensor) -> tuple[Tensor, Tensor]:
    spread, mean = torch.std_mean(x_B3HW, dim=(2, 3), keepdim=True, correction=0)
    return mean, spread.clamp_min(LEAST_SPREAD)
