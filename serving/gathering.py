"""Whether a batch waits a moment for the clients who have just been answered.

Clients who ask again at once come back one by one. A server that starts with the first of them
soon serves two halves in turn, and no batch is ever larger than half of its clients. So a batch
waits until as many images have come as were answered just before, at most `WAIT_S`. Whether they
do come is learnt: where clients do not return in that time, as over a slow network, nobody waits,
but for one batch in `PROBE` that looks whether this has changed.
"""

from __future__ import annotations

WAIT_S = 0.002
"""Longest time that an image waits for others. Timers of the event loop count milliseconds, and
half of the first is gone before all answers are on their way."""
PROBE = 256
_WORTH = 0.5
"""Share of those answered who must come back in time."""
_NEW = 0.1
"""Weight of one batch in the moving average."""


class Gathering:
    """What one lane of the batcher knows of the clients that it answered.

    Args:
        wait_s: longest time that an image waits.
    """

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self._wait_s, self._until_s = wait_s, 0.0
        self._returning = 1.0
        self._expected = self._came = self._batches = 0
        self._waited = False

    def came(self, now_s: float) -> None:
        """An image joined the queue."""
        self._came += now_s < self._until_s

    def wait_s(self, now_s: float) -> float:
        """Seconds that a batch which could start now shall wait at most; 0 when all are back."""
        if self._came >= self._expected or now_s >= self._until_s:
            return 0.0
        if self._returning < _WORTH and self._batches % PROBE:
            return 0.0
        self._waited = True
        return self._until_s - now_s

    def answered(self, images: int, now_s: float) -> None:
        """A batch was answered; what came until now tells of the batch before."""
        if self._waited:  # else the batch began before they could come
            share = min(1.0, self._came / self._expected)
            self._returning += _NEW * (share - self._returning)
        self._batches += 1
        self._expected, self._came, self._waited = images, 0, False
        self._until_s = now_s + self._wait_s
