"""The views of a step: what happens to labelled, weak and strong images before the network.

B images, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .augment import recoloured, strengthened, weak_view
from .draws import Draws
from .style import Neighbours, StyleShares, styled

PLAIN = StyleShares()


@dataclass(frozen=True)
class Views:
    """How far images are changed.

    All views take uint8 [B, H, W, 3] and give float32 [B, 3, H, W] in [0, 1]; all draws come from
    the draws.
    """

    flip: bool = False
    """Mirror half of the images."""
    colour_jitter: float = 0.5
    """Of labelled and strong views, see `augment.labelled_view`."""
    style: StyleShares = PLAIN
    """Of strong views."""
    style_labelled: bool = False
    """Labelled views change their style as strong ones do."""
    strong_labelled: bool = False
    """Labelled views are as strong as those of unlabelled images."""

    labelled_pairs: bool = False
    """Weak and strong views of labelled images are made too."""

    @property
    def borrow(self) -> bool:
        """Whether images take the looks of others: those must be at hand."""
        return bool(self.style.fourier or self.style.channel_statistics)

    def labelled(self, images_BHW3: Tensor, neighbours: Neighbours, draws: Draws) -> Tensor:
        """What the loss on labels sees."""
        style = self.style if self.style_labelled else PLAIN
        x_B3HW = weak_view(images_BHW3, draws, flip=self.flip)
        x_B3HW = styled(x_B3HW, neighbours, draws, style)
        if self.strong_labelled:
            return strengthened(x_B3HW, draws, colour_jitter=self.colour_jitter)
        return recoloured(x_B3HW, self.colour_jitter, draws)

    def weak(self, images_BHW3: Tensor, draws: Draws) -> Tensor:
        """What pseudo-labels are made of."""
        return weak_view(images_BHW3, draws, flip=self.flip)

    def strong(self, images_BHW3: Tensor, neighbours: Neighbours, draws: Draws) -> Tensor:
        """What must get the same pseudo-label."""
        x_B3HW = weak_view(images_BHW3, draws, flip=self.flip)
        x_B3HW = styled(x_B3HW, neighbours, draws, self.style)
        return strengthened(x_B3HW, draws, colour_jitter=self.colour_jitter)
