"""Per-domain batches without end: which images step t sees, as a pure function of (seed, t).

Because nothing is carried from step to step, a resumed run needs no sampler state, and a domain of
one image is as good as a large one: it simply starts over more often.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


class DomainBatches:
    """Batches that take the same number of images from each domain, each reshuffled per epoch.

    Args:
        indices_by_domain: the image numbers of each domain; none may be empty.
        batch_size: images a step, at least one a domain; what does not divide evenly goes to the
            domains in turn.
        seed: of all shuffles.
    """

    def __init__(
        self, indices_by_domain: Mapping[str, Indices], batch_size: int, *, seed: int
    ) -> None:
        empty = [domain for domain, indices in indices_by_domain.items() if not len(indices)]
        if empty:
            raise ValueError(f"domain {empty[0]!r} has no images to draw from")
        if indices_by_domain and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self._indices = [np.asarray(indices) for indices in indices_by_domain.values()]
        self._batch_size = batch_size
        self._seed = seed
        self._orders: dict[int, tuple[int, Indices]] = {}

    def batch(self, step: int) -> Indices:
        """The image numbers of step `step` (from 0), domain after domain."""
        parts = [
            self._draw(domain, *self._span(domain, step)) for domain in range(len(self._indices))
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _span(self, domain: int, step: int) -> tuple[int, int]:
        """From which to which draw of its stream a domain serves this step.

        The stream of all domains together is dealt out like cards, so shares stay equal to within
        one image at every step.
        """
        domains = len(self._indices)
        dealt = (step * self._batch_size, (step + 1) * self._batch_size)
        first, last = ((count - domain + domains - 1) // domains for count in dealt)
        return max(first, 0), max(last, 0)

    def _draw(self, domain: int, first: int, last: int) -> Indices:
        indices = self._indices[domain]
        size = len(indices)
        parts = [indices[:0]]
        for epoch in range(first // size, (last - 1) // size + 1):
            start = epoch * size
            places = self._shuffled(domain, epoch)[max(first - start, 0) : last - start]
            parts.append(indices[places])
        return np.concatenate(parts)

    def _shuffled(self, domain: int, epoch: int) -> Indices:
        """The order of an epoch; the last is kept: shuffling a million images takes 20 ms."""
        known = self._orders.get(domain)
        if known is None or known[0] != epoch:
            rng = np.random.default_rng((self._seed, domain, epoch))
            known = (epoch, rng.permutation(len(self._indices[domain])))
            self._orders[domain] = known
        return known[1]
