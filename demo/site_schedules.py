"""When a site changes: severity as a function of the picture's index in the stream."""

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def healthy() -> Schedule:
    """Never any harm."""
    return lambda _index: 0.0


def sudden(severity: float, *, onset: int) -> Schedule:
    """Healthy before picture `onset`, `severity` from there on."""
    return lambda index: severity if index >= onset else 0.0


def gradual(severity: float, *, onset: int, width: int, levels: int = 8) -> Schedule:
    """Severity grows from 0 at `onset` to its full value `width` pictures later, in steps.

    Args:
        severity: final severity.
        onset: index of the first picture of the ramp.
        width: length of the ramp in pictures, at least 1.
        levels: number of steps; few, because each step is one set of fixed quirks.
    """

    def at(index: int) -> float:
        share = min(1.0, max(0.0, (index - onset + 1) / width))
        return severity * math.floor(share * levels) / levels

    return at


def recurring(severity: float, *, onset: int, period: int, share: float = 0.5) -> Schedule:
    """From `onset` on, `severity` during the first `share` of every `period` pictures."""

    def at(index: int) -> float:
        inside = index >= onset and (index - onset) % period < share * period
        return severity if inside else 0.0

    return at
