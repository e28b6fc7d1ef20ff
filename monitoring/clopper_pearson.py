"""The exact interval of a share that was counted (Clopper & Pearson 1934)."""

from __future__ import annotations

import math
from collections.abc import Callable


def interval(right: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Interval that holds the true share with probability `level` or more.

    Args:
        right: how many of `n` had the property; scenes of several frames make it a fraction, which
            is rounded outwards.
        n: how many were counted, rounded to a whole number.
        level: in (0, 1).

    Returns:
        Lower and upper end, in [0, 1]; (0, 1) when nothing was counted.
    """
    whole = round(n)
    if whole < 1:
        return 0.0, 1.0
    low, high = max(math.floor(right + 1e-9), 0), min(math.ceil(right - 1e-9), whole)
    side = (1 - level) / 2
    lower = _root(lambda p: at_least(low, whole, p) - side) if low > 0 else 0.0
    upper = _root(lambda p: side - (1 - at_least(high + 1, whole, p))) if high < whole else 1.0
    return lower, upper


def at_least(k: int, n: int, p: float) -> float:
    """P(Binomial(n, p) >= k), with p inside (0, 1)."""
    if k <= 0:
        return 1.0
    return _tail(k, n, p) if k > n * p else 1.0 - _tail(n - k + 1, n, 1 - p)


def _tail(k: int, n: int, p: float) -> float:
    """P(Binomial(n, p) >= k) for k beyond the mean, where terms fall: few of them count."""
    log_choices = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = math.exp(log_choices + k * math.log(p) + (n - k) * math.log1p(-p)) if k <= n else 0.0
    total = 0.0
    for i in range(k, n + 1):
        total += term
        if term <= 1e-17 * total:
            break
        term *= (n - i) / (i + 1) * p / (1 - p)
    return min(total, 1.0)


def _root(rising: Callable[[float], float]) -> float:
    """Where a rising function crosses zero in (0, 1), by bisection."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
