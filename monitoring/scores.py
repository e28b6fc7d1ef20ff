"""Bounded scores of cell counts, and what a finite reference can promise about their means.

A score is a number in [0, 1] for every bin, high when all is well. The detector tests, for each
score s, the null "the mean of s, given the past, is not below its mean in the reference by more
than the margin". Because the reference is a sample, every mean from a lower confidence bound on is
looked at (`reference_doubt`); testing against the plain reference mean raises a promised 5 % of
false alarms to about 60 %.

Which scores there are, and their weights, does not depend on the reference: a cut that is chosen by
looking at the sample that is then taken for an independent one would void the proof.

Shapes: S scores, K bets, Z confidence bins, B = Z + Q confidence bins followed by novelty bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from redshank.cells import (
    CONFIDENCE_EDGES,
    CONFIDENCE_MIDPOINTS,
    NOVELTY_MIDPOINTS,
    NUM_CONFIDENCE_BINS,
    NUM_NOVELTY_BINS,
    FloatArray,
)

from .reference_doubt import Doubt, candidates, lowest_mean, prices_of

NUM_BINS = NUM_CONFIDENCE_BINS + NUM_NOVELTY_BINS
NUM_BETS = 7
CUTS = (0.7, 0.9, 0.98, 0.995, 0.998)
"""Confidences whose upper sides are indicators: dense near 1, where a good classifier lives."""
LEAST_MEAN, MOST_MEAN = 0.02, 0.98
"""An indicator with a mean outside says nothing and cannot be bounded: it is dropped."""
INDICATORS = ("shape", "novelty")
"""Groups of scores for which `margin_indicator` holds."""
SMALL_REFERENCE = 50
"""Below so many scenes the normal approximation is replaced by a betting bound."""
GROUP_SHARES = {"confidence": 0.5, "shape": 0.3, "novelty": 0.15, "confidence_up": 0.05}
"""How evidence and allowance are split: half of it watches for harm, the rest informs. A share
costs its logarithm, of some twelve nats."""


@dataclass(frozen=True)
class Null:
    """What "nothing got worse" means for one reference.

    Attributes:
        names: score names [S].
        groups: `confidence`, `shape`, `novelty` or `confidence_up` for each score [S].
        weights: [S], share of each score in evidence and allowance; they sum to at most 1.
        scores: [S, B], value of each score in each bin, in [0, 1].
        reference_means: [S], mean of each score in the reference.
        bounds: [S], lowest mean m that the null may have, 0 < m <= reference mean.
        log_bets: [S, K, B], log(1 + lambda_sk (m_s - f_s(bin))), 0 in bins of the other kind.
        doubt: higher means that the null may have, and their prices; None: `bounds` are the means.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    weights: FloatArray
    scores: FloatArray
    reference_means: FloatArray
    bounds: FloatArray
    log_bets: FloatArray
    doubt: Doubt | None = None

    def group_mask(self, group: str) -> FloatArray:
        """1.0 for the scores of a group, else 0.0, [S]."""
        return np.array([float(name == group) for name in self.groups])


@dataclass(frozen=True)
class _Score:
    """A score before anything was observed."""

    name: str
    group: str
    value_B: FloatArray
    used_B: FloatArray
    """1.0 in the bins that it is about."""

    @property
    def least(self) -> float:
        """Smallest value in the bins that it is about."""
        return float(self.value_B[self.used_B > 0].min())


@dataclass(frozen=True)
class _Tested:
    """A score with what the reference says of its mean."""

    score: _Score
    weight: float
    mean: float
    null_means_F: FloatArray
    """Candidates for the mean under the null, lowest first."""
    prices_F: FloatArray


def build_null(
    counts_B: FloatArray,
    *,
    scenes: float,
    delta: float,
    margin_confidence: float = 0.01,
    margin_indicator: float = 0.02,
    domains_DB: FloatArray | None = None,
) -> Null | None:
    """Bound the means of the scores from below and price what lies above the bounds.

    Args:
        counts_B: reference histogram, confidence bins then novelty bins (zeros: no novelty).
        scenes: number of independent scenes behind the counts (n_eff), >= 1.
        delta: probability that any bound is wrong, in (0, 1).
        margin_confidence: drop of mean confidence that does not matter, in [0, 1).
        margin_indicator: the same for indicators and novelty.
        domains_DB: the counts by domain, when the null is about a domain that is none of them:
            means are lowered by the standard deviation of a score between domains, and that its
            confidence is higher than theirs is no news.

    Returns:
        The null, or None when no score survives (an empty or degenerate reference).
    """
    scores = list(_scores(has_novelty=bool(counts_B[NUM_CONFIDENCE_BINS:].any())))
    if domains_DB is not None:
        scores = [score for score in scores if score.group != "confidence_up"]
    weight_S = group_weights([score.group for score in scores])
    found: list[_Tested] = []
    for weight, score in zip(weight_S, scores, strict=True):
        counts = counts_B * score.used_B
        mean = float(score.value_B @ counts) / max(float(counts.sum()), 1e-300)
        if not counts.any() or (score.group in INDICATORS and not LEAST_MEAN < mean < MOST_MEAN):
            continue
        shift = margin_indicator if score.group in INDICATORS else margin_confidence
        if domains_DB is not None:
            shift += _spread(score.value_B, domains_DB * score.used_B)
        p_B = counts / counts.sum()
        lower = lowest_mean(
            score.value_B, p_B, scenes=scenes, delta=delta * float(weight), least=score.least
        )
        mean_F = candidates(score.value_B, p_B, scenes=scenes, lowest=lower)
        null_F = np.minimum(mean_F - shift, 1 - 1e-3)
        if null_F[0] > 0:  # never clipped up: a bound above the true mean breaks the promise
            price_F = prices_of(mean_F, score.value_B, p_B, scenes=scenes, least=score.least)
            found.append(_Tested(score, float(weight), mean, null_F, price_F))
    return _with_bets(found) if found else None


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


def _scores(*, has_novelty: bool) -> Iterator[_Score]:
    """All scores, mean confidence first."""
    confidence_B = (np.arange(NUM_BINS) < NUM_CONFIDENCE_BINS).astype(np.float64)
    midpoint_B = np.zeros(NUM_BINS)
    midpoint_B[:NUM_CONFIDENCE_BINS] = CONFIDENCE_MIDPOINTS
    yield _Score("confidence", "confidence", midpoint_B, confidence_B)
    for cut in CUTS:
        above_B = (np.arange(NUM_BINS) > CONFIDENCE_EDGES.index(cut)) * confidence_B
        yield _Score(f"confidence of {cut:g} and more", "shape", above_B, confidence_B)
    if has_novelty:
        novelty_B = 1 - confidence_B
        ordinary_B = np.zeros(NUM_BINS)
        ordinary_B[NUM_CONFIDENCE_BINS:] = 1 - np.asarray(NOVELTY_MIDPOINTS)
        yield _Score("ordinariness", "novelty", ordinary_B, novelty_B)
        inside_B = novelty_B.copy()
        inside_B[-1] = 0.0  # the last bin begins at the 95 % quantile
        yield _Score("novelty below its 95 % quantile", "novelty", inside_B, novelty_B)
    # the mirror image of mean confidence: a rise is no harm by itself, and worth knowing
    yield _Score("doubt", "confidence_up", (1 - midpoint_B) * confidence_B, confidence_B)


def _with_bets(found: Sequence[_Tested]) -> Null:
    mean_S = np.array([tested.mean for tested in found])
    null_SF = np.array([tested.null_means_F for tested in found])
    value_SB = np.array([tested.score.value_B for tested in found])
    used_SB = np.array([tested.score.used_B for tested in found])
    bound_S = null_SF[:, 0]
    assert (bound_S > 0).all(), bound_S
    assert (bound_S <= mean_S).all(), (bound_S, mean_S)
    bet_SK = 0.9 / (1 - bound_S)[:, None] * 2.0 ** -np.arange(NUM_BETS)
    gain_SKB = 1 + bet_SK[:, :, None] * (bound_S[:, None] - value_SB)[:, None, :]
    # theta = log(m - 1 + 1 / bet), and the gain is bet e^theta + bet (1 - f)
    start_SK = bound_S[:, None] - 1 + 1 / bet_SK
    used_SKB = np.broadcast_to(used_SB[:, None, :], gain_SKB.shape)
    doubt = Doubt(
        slopes=(bet_SK * start_SK)[:, :, None] / gain_SKB * used_SKB,
        steps=np.log1p((null_SF - null_SF[:, :1])[:, None, :] / start_SK[:, :, None]),
        prices=np.array([tested.prices_F for tested in found]),
    )
    return Null(
        names=tuple(tested.score.name for tested in found),
        groups=tuple(tested.score.group for tested in found),
        weights=np.array([tested.weight for tested in found]),
        scores=value_SB,
        reference_means=mean_S,
        bounds=bound_S,
        log_bets=np.log(gain_SKB) * used_SKB,
        doubt=doubt,
    )
