"""Whether one method is better than another: paired over the cells that both have.

The difference of two methods is taken cell by cell (same target, same seed: the same images keep
their labels and the same weights start), N differences in all. Test and interval are exact when the
differences are symmetric around their true mean, whatever their distribution: the sign-flip test
(Fisher, "The Design of Experiments", 1935), and the interval of all subset means that inverts it
(Hartigan, "Using subsample values as typical values", JASA 1969).

The unit is the cell, so the verdict is about these targets and seeds like these. It does not say
that a fifth target would agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST_EXACT = 20
"""Up to so many differences all 2^N sign patterns are looked at, beyond that random ones."""
DRAWS = 2**16


@dataclass(frozen=True)
class Paired:
    """Differences of one pair of methods, summed up."""

    n: int
    mean: float
    low: float | None
    """Ends of the interval; None where so few differences allow none."""
    high: float | None
    better: int
    """Differences above 0."""
    p: float | None
    """Two-sided; None without any difference to look at."""


def compare(difference_N: Sequence[float], *, level: float = 0.95) -> Paired:
    """Mean, interval and test of paired differences."""
    values_N = np.asarray(difference_N, np.float64)
    low, high = subset_mean_interval(values_N, level=level)
    return Paired(
        n=len(values_N),
        mean=float(values_N.mean()) if len(values_N) else 0.0,
        low=low,
        high=high,
        better=int((values_N > 0).sum()),
        p=sign_flip_p(values_N),
    )


def sign_flip_p(difference_N: Floats) -> float | None:
    """Share of sign patterns whose sum is at least as far from 0 as the one seen.

    None when there is no difference. With N of them the smallest possible value is 2 / 2^N: five
    seeds of one target can never reach 0.05.
    """
    if not len(difference_N):
        return None
    seen = abs(difference_N.sum())
    tolerance = 1e-9 * max(1e-300, float(np.abs(difference_N).sum()))
    if len(difference_N) <= MOST_EXACT:
        sums = np.zeros(1)
        for value in difference_N:
            sums = np.concatenate([sums + value, sums - value])
        return float((np.abs(sums) >= seen - tolerance).mean())
    sign_DN = np.random.default_rng(0).choice([-1.0, 1.0], (DRAWS, len(difference_N)))
    extreme = int((np.abs(sign_DN @ difference_N) >= seen - tolerance).sum())
    return (1 + extreme) / (1 + DRAWS)


def subset_mean_interval(
    difference_N: Floats, *, level: float
) -> tuple[float | None, float | None]:
    """Interval of the mean at a level in (0, 1); (None, None) of too few differences.

    The true mean lies between any two neighbours of the sorted means of all non-empty subsets with
    equal probability, so their quantiles are its limits.
    """
    means = _subset_means(difference_N)
    outside = int((1.0 - level) / 2.0 * (len(means) + 1))
    if outside < 1:
        return None, None
    ordered = np.partition(means, [outside - 1, len(means) - outside])
    return float(ordered[outside - 1]), float(ordered[len(means) - outside])


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Each p-value, corrected for all that are looked at together (Holm, 1979)."""
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    found: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        found[place] = largest
    return found


def _subset_means(value_N: Floats) -> Floats:
    if len(value_N) <= MOST_EXACT:
        sums, counts = np.zeros(1), np.zeros(1)
        for value in value_N:
            sums = np.concatenate([sums, sums + value])
            counts = np.concatenate([counts, counts + 1.0])
        means: Floats = sums[1:] / counts[1:]
        return means
    chosen_DN = np.random.default_rng(1).integers(0, 2, (DRAWS, len(value_N))).astype(np.float64)
    chosen_DN = chosen_DN[chosen_DN.any(axis=1)]
    drawn: Floats = chosen_DN @ value_N / chosen_DN.sum(axis=1)
    return drawn
