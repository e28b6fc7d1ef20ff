"""How often an image of a site is offered to the field store: keeping one costs several requests.

A token bucket a domain: a burst passes whole, so that a site of little traffic loses nothing; under
steady load so many images a second pass, those that come when a token is there, which is a fair
sample in time. A bucket is one number, the time when the next image were due if all had come at an
even pace (GCRA, ITU-T I.371): the answer is mostly no, and that costs one comparison.
"""

from __future__ import annotations

import math

BURST = 500
"""Images of a domain that pass at once."""
CLOCK_STEP_S = 60.0
"""A clock that went back further was wrong before: nobody waits until that time comes again."""
LEAST_PER_S = 1e-9
"""Slower than this is as slow: one image in thirty years."""
MOST_DOMAINS = 4096
"""Buckets in memory; beyond, all of them begin anew."""


class CaptureRate:
    """Token buckets by domain.

    Args:
        per_s: images of one domain a second, in the long run; infinity lets all pass, 0 the burst.
    """

    def __init__(self, per_s: float) -> None:
        self._pace_s = 1.0 / max(per_s, LEAST_PER_S)
        self._ahead_s = (BURST - 1) * self._pace_s or math.inf
        """How far ahead of its due time an image passes."""
        self._due_s: dict[str, float] = {}

    def allows(self, domain: str, now_s: float) -> bool:
        """Whether an image received at `now_s` may be offered; takes a token if so."""
        due_s = self._due_s.get(domain, now_s)
        if due_s - now_s > self._ahead_s:
            if due_s - now_s > BURST * self._pace_s + CLOCK_STEP_S:
                self._due_s[domain] = now_s + BURST * self._pace_s
            return False
        if len(self._due_s) >= MOST_DOMAINS and domain not in self._due_s:
            self._due_s.clear()
        self._due_s[domain] = max(due_s, now_s) + self._pace_s
        return True
