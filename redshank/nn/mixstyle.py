"""MixStyle: channel statistics of features mixed between images, as if styles met halfway.

Zhou et al., "Domain Generalization with MixStyle", ICLR 2021, equations 4 to 6. Helps where style
tells domains apart (PACS +1.0 point) and hurts where it does not (iWildCam -4.4), so it is off
unless asked for. Shapes: B images, M channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from redshank.nn.heads import StochasticCosineHead

ALPHA = 0.1
EPSILON = 1e-6


class MixStyle(nn.Module):
    """Identity unless `generator` is set (see `sampling`); without parameters of its own.

    Args:
        probability: that a batch is mixed at all (paper: 0.5).
    """

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__()
        self.probability = probability
        self.generator: Generator | None = None

    def forward(self, x_BMHW: Tensor) -> Tensor:
        """Mean and spread of each image and channel, mixed with those of another image."""
        if self.generator is None:
            return x_BMHW
        batch, device = len(x_BMHW), x_BMHW.device
        mixed = torch.rand((), generator=self.generator, device=device) < self.probability
        partner_B = torch.randperm(batch, generator=self.generator, device=device)
        own_B111 = beta(batch, ALPHA, self.generator).to(x_BMHW.dtype)[:, None, None, None]
        own_B111 = torch.where(mixed, own_B111, 1.0)
        return mix_statistics(x_BMHW, partner_B, own_B111)


def mix_statistics(x_BMHW: Tensor, partner_B: Tensor, own_B111: Tensor) -> Tensor:
    """`own` of an image's own statistics and 1 - own of its partner's; statistics get no gradient.

    Args:
        x_BMHW: features.
        partner_B: whose statistics come in.
        own_B111: in [0, 1].
    """
    mean_BM11 = x_BMHW.mean(dim=(2, 3), keepdim=True).detach()
    spread_BM11 = (x_BMHW.var(dim=(2, 3), keepdim=True) + EPSILON).sqrt().detach()
    mean_mix_BM11 = own_B111 * mean_BM11 + (1.0 - own_B111) * mean_BM11[partner_B]
    spread_mix_BM11 = own_B111 * spread_BM11 + (1.0 - own_B111) * spread_BM11[partner_B]
    return (x_BMHW - mean_BM11) / spread_BM11 * spread_mix_BM11 + mean_mix_BM11


def beta(count: int, alpha: float, generator: Generator) -> Tensor:
    """Draws of Beta(alpha, alpha), as a ratio of Gamma draws."""
    shape_2N = torch.full((2, count), alpha, device=generator.device)
    tiny = torch.finfo(shape_2N.dtype).tiny
    gamma_2N = torch._standard_gamma(shape_2N, generator=generator).clamp_min(tiny)
    return gamma_2N[0] / gamma_2N.sum(dim=0)


def add_mixstyle(features: nn.Module, probability: float) -> None:
    """Puts MixStyle behind the first two blocks, without renaming any weight.

    Args:
        features: the small CNN's layers, or a ResNet with `layer1` and `layer2`.
        probability: see `MixStyle`.

    Raises:
        ValueError: a network of neither form.
    """
    blocks = [getattr(features, name, None) for name in ("layer1", "layer2")]
    if all(isinstance(block, nn.Sequential) for block in blocks):
        for block in blocks:
            assert isinstance(block, nn.Sequential)
            block.append(MixStyle(probability))
        return
    if not isinstance(features, nn.Sequential):
        raise ValueError(f"MixStyle knows no place in {type(features).__name__}")
    places = [number for number, layer in enumerate(features) if isinstance(layer, nn.ReLU)]
    for place in places[:2]:
        features[place] = nn.Sequential(features[place], MixStyle(probability))


@contextmanager
def sampling(model: nn.Module, generator: Generator) -> Iterator[None]:
    """Inside, MixStyle mixes and the stochastic head draws weights, both from `generator`."""
    drawing = [m for m in model.modules() if isinstance(m, MixStyle | StochasticCosineHead)]
    try:
        for module in drawing:
            module.generator = generator
        yield
    finally:
        for module in drawing:
            module.generator = None
