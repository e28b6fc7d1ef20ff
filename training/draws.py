"""Random numbers of the images of a step, whichever process makes their views.

Every process draws for all images of the step and keeps the rows of its own: drawing is cheap, and
so one process and many see the same views.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Share:
    """Which images of a step a process makes the views of: `size` of `total`, from `first`."""

    first: int
    size: int
    total: int

    @property
    def rows(self) -> slice:
        """The same as a slice of all images."""
        return slice(self.first, self.first + self.size)


@dataclass(frozen=True)
class Draws:
    """Draws for B images, on the generator's device."""

    generator: Generator
    share: Share | None = None
    """None: the B images are all of the step."""

    def uniform(self, size: int, *shape: int) -> Tensor:
        """float32 [B, *shape] in [0, 1)."""
        return self._kept(
            torch.rand(self._total(size), *shape, generator=self.generator, device=self.device)
        )

    def normal(self, size: int, *shape: int) -> Tensor:
        """float32 [B, *shape] of mean 0 and variance 1."""
        return self._kept(
            torch.randn(self._total(size), *shape, generator=self.generator, device=self.device)
        )

    def integers(self, low: int, high: int, size: int, *shape: int) -> Tensor:
        """int64 [B, *shape] in [low, high)."""
        shape = (self._total(size), *shape)
        return self._kept(
            torch.randint(low, high, shape, generator=self.generator, device=self.device)
        )

    def several(self, count: int, size: int) -> tuple[Tensor, ...]:
        """`count` times float32 [B] in [0, 1), drawn one after the other."""
        shape = (count, self._total(size))
        drawn = torch.rand(shape, generator=self.generator, device=self.device)
        return tuple(self._kept(row) for row in drawn)

    @property
    def device(self) -> torch.device:
        """Of the generator and of all that is drawn."""
        return self.generator.device

    def _total(self, size: int) -> int:
        if self.share is None:
            return size
        if size != self.share.size:
            raise ValueError(f"{size} images are no share of {self.share.size}")
        return self.share.total

    def _kept(self, drawn: Tensor) -> Tensor:
        return drawn if self.share is None else drawn[self.share.rows]
