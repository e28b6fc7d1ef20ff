"""How often an image of a site is offered to the field store: keeping one costs several requests.

A token bucket a domain: a burst passes whole, so that a site of little traffic loses nothing; under
steady load so many images a second pass, those that come when a token is there, which is a fair
sample in time.
"""

from __future__ import annotations

BURST = 500
"""Images of a domain that pass at once."""
CLOCK_STEP_S = 60.0
"""A clock that went back further was wrong before: nobody waits until that time comes again."""
MOST_DOMAINS = 4096
"""Buckets in memory; beyond, all of them begin anew."""


class CaptureRate:
    """Token buckets by domain.

    Args:
        per_s: images of one domain a second, in the long run.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._buckets: dict[str, tuple[float, float]] = {}

    def allows(self, domain: str, now_s: float) -> bool:
        """Whether an image received at `now_s` may be offered; takes a token if so."""
        tokens, since_s = self._buckets.get(domain, (float(BURST), now_s))
        if since_s < now_s:
            tokens = min(float(BURST), tokens + self._per_s * (now_s - since_s))
        if not now_s < since_s <= now_s + CLOCK_STEP_S:
            since_s = now_s
        if tokens < 1.0:
            self._buckets[domain] = (tokens, since_s)
            return False
        if len(self._buckets) >= MOST_DOMAINS and domain not in self._buckets:
            self._buckets.clear()
        self._buckets[domain] = (tokens - 1.0, since_s)
        return True
