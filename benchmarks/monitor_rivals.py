"""Other change detectors, over many streams at once, each as one statistic that only needs a line.

The published algorithms, written plainly; their thresholds are set by the benchmark on streams of
their own, so that all have the same false-alarm rate. A statistic [T, R] of R streams is compared
with a threshold at every tick; what the detectors would do after their first alarm is left out.

Shapes: R streams, N values of a reference each, T values a stream, K ticks of `per_tick` values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from redshank.cells import FloatArray

Rival = Callable[[FloatArray, FloatArray, int], FloatArray]
"""(reference [N, R], values [T, R], values a tick) -> statistic [K, R], larger is worse."""


def cusum(
    reference_NR: FloatArray, values_TR: FloatArray, per_tick: int, *, k: float
) -> FloatArray:
    """Page's one-sided CUSUM of standardised falls (Page 1954).

    Mean and standard deviation are those of the reference; `k` is half the shift, in standard
    deviations, that it is best for.
    """
    mean_R, sd_R = reference_NR.mean(axis=0), reference_NR.std(axis=0)
    sum_R = np.zeros(values_TR.shape[1])
    found = np.empty(values_TR.shape)
    for t, value_R in enumerate((mean_R - values_TR) / sd_R - k):
        sum_R = np.maximum(sum_R + value_R, 0)
        found[t] = sum_R
    return _worst_of_tick(found, per_tick)


def page_hinkley(
    reference_NR: FloatArray, values_TR: FloatArray, per_tick: int, *, delta: float
) -> FloatArray:
    """Page-Hinkley as in river 0.26, mode `down`, forgetting 0.9999; reads the reference first."""
    mean_R, sum_R, most_R = 0.0, 0.0, np.full(values_TR.shape[1], -1.0)
    found = np.empty(values_TR.shape)
    stream = np.concatenate([reference_NR, values_TR])
    for t, value_R in enumerate(stream):
        mean_R = mean_R + (value_R - mean_R) / (t + 1)
        sum_R = 0.9999 * sum_R + value_R - mean_R + delta
        most_R = np.maximum(most_R, sum_R)
        if t >= len(reference_NR):
            found[t - len(reference_NR)] = most_R - sum_R
    return _worst_of_tick(found, per_tick)


def ks_window(
    reference_NR: FloatArray, values_TR: FloatArray, per_tick: int, *, window: int
) -> FloatArray:
    """Two-sample Kolmogorov-Smirnov distance of the last `window` values and the reference.

    Taken at every tick, on the 100 quantiles of the reference; 0 before the window is full.
    """
    ticks, span = len(values_TR) // per_tick, window // per_tick
    found = np.zeros((ticks, values_TR.shape[1]))
    tick_T = np.repeat(np.arange(ticks), per_tick)
    for r in range(values_TR.shape[1]):
        cuts_Q = np.quantile(reference_NR[:, r], np.linspace(0, 1, 100))
        expected_Q = np.searchsorted(np.sort(reference_NR[:, r]), cuts_Q, "right")
        bin_T = np.searchsorted(cuts_Q, values_TR[: len(tick_T), r])  # the first cut >= value
        counts_KQ = np.bincount(tick_T * 101 + bin_T, minlength=ticks * 101).reshape(ticks, 101)
        total_KQ = counts_KQ[:, :100].cumsum(axis=1).cumsum(axis=0)
        total_KQ[span:] -= total_KQ[:-span].copy()
        gap_KQ = np.abs(total_KQ / window - expected_Q / len(reference_NR))
        found[span - 1 :, r] = gap_KQ[span - 1 :].max(axis=1)
    return found


class _Buckets:
    """ADWIN's exponential histogram; R streams share its shape until one of them is cut."""

    MOST = 5

    def __init__(self, streams: int) -> None:
        self.rows: list[list[tuple[FloatArray, FloatArray]]] = []
        self.width = 0
        self.total_R = np.zeros(streams)
        self.variance_R = np.zeros(streams)

    def insert(self, value_R: FloatArray) -> None:
        """Take one value of each stream."""
        if self.width:
            gap_R = value_R - self.total_R / self.width
            self.variance_R = self.variance_R + self.width * gap_R**2 / (self.width + 1)
        self.width += 1
        self.total_R = self.total_R + value_R
        carry = (value_R, np.zeros_like(value_R))
        for level, size in enumerate(2**level for level in range(len(self.rows) + 1)):
            if level == len(self.rows):
                self.rows.append([])
            self.rows[level].append(carry)
            if len(self.rows[level]) <= self.MOST:
                return
            (a, va), (b, vb) = self.rows[level].pop(0), self.rows[level].pop(0)
            carry = (a + b, va + vb + (a / size - b / size) ** 2 * size / 2)

    def evidence(self) -> FloatArray:
        """Largest log(1 / delta) [R] at which some cut would still be made; only falls count."""
        least = 5
        log_R = np.full(len(self.total_R), -np.inf)
        variance_R, n0, sum_R = self.variance_R / self.width, 0, np.zeros_like(self.total_R)
        for level in range(len(self.rows) - 1, -1, -1):
            for bucket_R, _ in self.rows[level]:
                n0, sum_R = n0 + 2**level, sum_R + bucket_R
                n1 = self.width - n0
                if n1 < least:
                    return log_R
                if n0 < least:
                    continue
                fall_R = sum_R / n0 - (self.total_R - sum_R) / n1
                m = 1 / (n0 - least + 1) + 1 / (n1 - least + 1)
                # fall > sqrt(2 m v l) + 2/3 m l, solved for l = log(2 log(width) / delta)
                root_R = np.sqrt(2 * m * variance_R)
                most_R = (np.sqrt(root_R**2 + 8 / 3 * m * np.maximum(fall_R, 0)) - root_R) / (
                    4 / 3 * m
                )
                log_R = np.maximum(log_R, most_R**2 - np.log(2 * np.log(self.width)))
        return log_R


def adwin(reference_NR: FloatArray, values_TR: FloatArray, per_tick: int) -> FloatArray:
    """ADWIN2 (Bifet and Gavalda 2007) as in river 0.26, asked at every tick; reference first.

    The statistic is log(1 / delta): an alarm at threshold h is the alarm of ADWIN(delta=exp(-h)).
    """
    buckets = _Buckets(values_TR.shape[1])
    for value_R in reference_NR:
        buckets.insert(value_R)
    found = np.empty((len(values_TR) // per_tick, values_TR.shape[1]))
    for t, value_R in enumerate(values_TR[: len(found) * per_tick]):
        buckets.insert(value_R)
        if (t + 1) % per_tick == 0:
            found[t // per_tick] = buckets.evidence()
    return found


RIVALS: dict[str, dict[str, Rival]] = {
    "ADWIN": {"": adwin},
    "Page-Hinkley": {f"delta {d}": partial(page_hinkley, delta=d) for d in (0.001, 0.005, 0.02)},
    "KS window": {f"W {w}": partial(ks_window, window=w) for w in (100, 200, 500)},
    "CUSUM": {f"k {k}": partial(cusum, k=k) for k in (0.05, 0.1, 0.25, 0.5)},
}
"""Each with the parameters among which an oracle picks the best for every shift."""


def _worst_of_tick(found_TR: FloatArray, per_tick: int) -> FloatArray:
    ticks = len(found_TR) // per_tick
    cut = found_TR[: ticks * per_tick].reshape(ticks, per_tick, -1)
    return np.asarray(cut.max(axis=1))
