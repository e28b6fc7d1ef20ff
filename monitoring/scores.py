"""Bounded scores of cell counts, and what a finite reference can promise about their means.

A score is a number in [0, 1] for every bin, high when all is well. The detector tests, for each
score s, the null "the mean of s, given the past, is at least m_s". Because the reference is a
sample, m_s is a lower confidence bound of the reference mean; testing against the plain reference
mean raises a promised 5 % of false alarms to about 26 %.

Shapes: S scores, K bets, Z confidence bins, B = Z + Q confidence bins followed by novelty bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from redshank.cells import (
    CONFIDENCE_MIDPOINTS,
    NOVELTY_MIDPOINTS,
    NUM_CONFIDENCE_BINS,
    NUM_NOVELTY_BINS,
    FloatArray,
)

NUM_BINS = NUM_CONFIDENCE_BINS + NUM_NOVELTY_BINS
NUM_BETS = 7
QUANTILES = (0.05, 0.25, 0.5)
LEAST_MEAN, MOST_MEAN = 0.02, 0.98
"""An indicator with a mean outside says nothing and cannot be bounded: it is dropped."""
INDICATORS = ("shape", "novelty")
"""Groups of scores for which `margin_indicator` holds."""
SMALL_REFERENCE = 50
"""Below so many scenes the normal approximation is replaced by a betting bound."""
GROUP_SHARES = {"confidence": 0.5, "shape": 0.15, "novelty": 0.25, "confidence_up": 0.1}
"""How the allowance is split: half of it watches for harm, the rest informs."""


@dataclass(frozen=True)
class Null:
    """What "nothing got worse" means for one reference.

    Attributes:
        names: score names [S].
        groups: `confidence`, `shape`, `novelty` or `confidence_up` for each score [S].
        weights: [S], share of each score in evidence and allowance; they sum to 1.
        scores: [S, B], value of each score in each bin, in [0, 1].
        reference_means: [S], mean of each score in the reference.
        bounds: [S], lower bound m of the mean under the null, 0 < m <= reference mean.
        log_bets: [S, K, B], log(1 + lambda_sk (m_s - f_s(bin))), 0 in bins of the other kind.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    weights: FloatArray
    scores: FloatArray
    reference_means: FloatArray
    bounds: FloatArray
    log_bets: FloatArray

    def group_mask(self, group: str) -> FloatArray:
        """1.0 for the scores of a group, else 0.0, [S]."""
        return np.array([float(name == group) for name in self.groups])


def build_null(
    counts_B: FloatArray,
    *,
    scenes: float,
    delta: float,
    margin_confidence: float = 0.01,
    margin_indicator: float = 0.02,
    domains_DB: FloatArray | None = None,
) -> Null | None:
    """Choose the scores that the reference supports and bound their means from below.

    Args:
        counts_B: reference histogram, confidence bins then novelty bins (zeros: no novelty).
        scenes: number of independent scenes behind the counts (n_eff), >= 1.
        delta: probability that any bound is wrong, in (0, 1).
        margin_confidence: drop of mean confidence that does not matter, in [0, 1).
        margin_indicator: the same for quantile indicators and novelty.
        domains_DB: the counts by domain, when the null is about a domain that is none of them:
            bounds are lowered by the standard deviation of a score between domains, and that its
            confidence is higher than theirs is no news.

    Returns:
        The null, or None when no score survives (an empty or degenerate reference).
    """
    candidates = [*_confidence_scores(counts_B), *_novelty_scores(counts_B)]
    if domains_DB is None:
        candidates.append(_confidence_up(candidates[0]))
    kept = []
    for name, group, score_B, used_B in candidates:
        counts, mean = _reference_of(counts_B, score_B, used_B)
        if counts.sum() > 0 and (group not in INDICATORS or LEAST_MEAN < mean < MOST_MEAN):
            kept.append((name, group, score_B, used_B, counts, mean))
    weight_S = group_weights([group for _, group, *_ in kept])
    found = []
    for weight, (name, group, score_B, used_B, counts, mean) in zip(weight_S, kept, strict=True):
        lower = lower_bound(score_B, counts, scenes=scenes, delta=delta * float(weight))
        spread = 0.0 if domains_DB is None else _spread(score_B, domains_DB * used_B)
        margin = margin_indicator if group in INDICATORS else margin_confidence
        bound = min(lower - margin - spread, 1 - 1e-3)
        if bound > 0:  # never clipped up: a bound above the true mean breaks the promise
            found.append((name, group, score_B, used_B, mean, bound))
    if not found:
        return None
    names, groups, scores, used, means, bounds = zip(*found, strict=True)
    return _with_bets(names, groups, np.array(scores), np.array(used), np.array([means, bounds]))


def group_weights(groups: Sequence[str]) -> FloatArray:
    """Weight of each score [S]: `GROUP_SHARES` of the groups there are, even inside a group."""
    whole = sum(GROUP_SHARES[group] for group in set(groups))
    return np.array([GROUP_SHARES[group] / groups.count(group) / whole for group in groups])


def lower_bound(score_B: FloatArray, counts_B: FloatArray, *, scenes: float, delta: float) -> float:
    """Lower confidence bound, at level 1 - delta, of the mean of a score.

    From `SMALL_REFERENCE` scenes on: Wilson's bound for an indicator, whose error is skewed, and
    the normal approximation for the others. Below it the betting bound of Waudby-Smith & Ramdas
    (2024) with fixed bets, which holds for every sample size.
    """
    p_B = counts_B / counts_B.sum()
    mean = float(score_B @ p_B)
    if scenes < SMALL_REFERENCE:
        return _betting_bound(score_B, p_B * scenes, delta)
    z = NormalDist().inv_cdf(1 - delta)
    if np.isin(score_B, (0.0, 1.0)).all():
        spread = np.sqrt(mean * (1 - mean) / scenes + z**2 / (4 * scenes**2))
        return float((mean + z**2 / (2 * scenes) - z * spread) / (1 + z**2 / scenes))
    variance = max(float(score_B**2 @ p_B) - mean**2, 1 / scenes)
    return mean - z * float(np.sqrt(variance / scenes))


def _betting_bound(score_B: FloatArray, counts_B: FloatArray, delta: float) -> float:
    """Largest m that a mixture of bets against "mean <= m" rejects, by bisection."""
    low, high = 0.0, float(score_B @ counts_B / counts_B.sum())
    fractions_K = 0.9 * 2.0 ** -np.arange(NUM_BETS)
    for _ in range(40):
        middle = (low + high) / 2
        factors_KB = np.log1p(fractions_K[:, None] * (score_B / max(middle, 1e-12) - 1))
        log_wealth_K = factors_KB @ counts_B
        rejected = np.logaddexp.reduce(log_wealth_K) - np.log(NUM_BETS) >= np.log(1 / delta)
        low, high = (middle, high) if rejected else (low, middle)
    return low


def _spread(score_B: FloatArray, domains_DB: FloatArray) -> float:
    """Standard deviation of a score's mean between domains; 0 with fewer than two."""
    totals_D = domains_DB.sum(axis=1)
    means = (domains_DB @ score_B)[totals_D > 0] / totals_D[totals_D > 0]
    return float(means.std(ddof=1)) if len(means) > 1 else 0.0


def _confidence_scores(
    counts_B: FloatArray,
) -> list[tuple[str, str, FloatArray, FloatArray]]:
    counts_Z = counts_B[:NUM_CONFIDENCE_BINS]
    used_B = np.arange(NUM_BINS) < NUM_CONFIDENCE_BINS
    midpoints_B = np.zeros(NUM_BINS)
    midpoints_B[:NUM_CONFIDENCE_BINS] = CONFIDENCE_MIDPOINTS
    scores = [("confidence", "confidence", midpoints_B, used_B.astype(np.float64))]
    cumulative_Z = np.cumsum(counts_Z) / max(float(counts_Z.sum()), 1e-300)
    # A good model's median often lies in the last bin: then being in that bin is the indicator.
    last = NUM_CONFIDENCE_BINS - 2
    cuts = {min(int(np.searchsorted(cumulative_Z, q)), last): q for q in reversed(QUANTILES)}
    for cut, q in sorted(cuts.items()):
        above_B = ((np.arange(NUM_BINS) > cut) & used_B).astype(np.float64)
        name = f"confidence above its {100 * q:.0f} % quantile"
        scores.append((name, "shape", above_B, used_B.astype(np.float64)))
    return scores


def _confidence_up(
    confidence: tuple[str, str, FloatArray, FloatArray],
) -> tuple[str, str, FloatArray, FloatArray]:
    """The mirror image of mean confidence: a rise is no harm by itself, and worth knowing."""
    _, _, midpoints_B, used_B = confidence
    return "doubt", "confidence_up", (1 - midpoints_B) * used_B, used_B


def _novelty_scores(counts_B: FloatArray) -> list[tuple[str, str, FloatArray, FloatArray]]:
    if not counts_B[NUM_CONFIDENCE_BINS:].any():
        return []
    used_B = (np.arange(NUM_BINS) >= NUM_CONFIDENCE_BINS).astype(np.float64)
    ordinary_B = np.zeros(NUM_BINS)
    ordinary_B[NUM_CONFIDENCE_BINS:] = 1 - np.asarray(NOVELTY_MIDPOINTS)
    inside_B = used_B.copy()
    inside_B[-1] = 0.0  # the last bin begins at the 95 % quantile
    return [
        ("ordinariness", "novelty", ordinary_B, used_B),
        ("novelty below its 95 % quantile", "novelty", inside_B, used_B),
    ]


def _reference_of(
    counts_B: FloatArray, score_B: FloatArray, used_B: FloatArray
) -> tuple[FloatArray, float]:
    counts = counts_B * used_B
    total = float(counts.sum())
    return counts, float(score_B @ counts) / total if total > 0 else 0.0


def _with_bets(
    names: tuple[str, ...],
    groups: tuple[str, ...],
    scores_SB: FloatArray,
    used_SB: FloatArray,
    means_and_bounds_2S: FloatArray,
) -> Null:
    mean_S, bound_S = means_and_bounds_2S
    assert (bound_S > 0).all(), bound_S
    assert (bound_S <= mean_S).all(), (bound_S, mean_S)
    bets_SK = 0.9 / (1 - bound_S)[:, None] * 2.0 ** -np.arange(NUM_BETS)
    gap_SB = bound_S[:, None] - scores_SB
    log_bets_SKB = np.log1p(bets_SK[:, :, None] * gap_SB[:, None, :]) * used_SB[:, None, :]
    return Null(names, groups, group_weights(groups), scores_SB, mean_S, bound_S, log_bets_SKB)
