"""What a finite reference leaves open: every mean it may have, and the price of each.

A reference of n scenes does not know its mean mu. It brings evidence of its own against each
candidate (betting: Waudby-Smith & Ramdas 2024), a mixture of fixed bets that its scores are higher,

    E(mu) = w_0 + sum_j w_j prod_i (1 + c_j (f_i - mu)),    E[E(mu)] <= 1 at the true mean,

as every factor is >= 0 with mean 1. The bets depend on n alone. Evidence M(mu) that the site fell
below mu may be multiplied by E(mu): a mean that the reference itself makes improbable needs less of
it. As the true mean is not known, the least product over all candidates counts. Candidates with
E(mu) >= 1 / delta are left out: by Markov's inequality the true mean is one with probability delta
at most. Nothing here is an approximation: it holds for every n, every delta and every score in
[0, 1]. (A normal bound of mean confidence was wrong four times as often as claimed, for n = 300.)

That costs far less than testing against one lower confidence bound. A bound at z standard errors
throws z of them away however few images came in; here a change that shows after N << n images pays
about c^2 / 2 nats, where c is what the evidence loses by one standard error.

Shapes: B bins, S scores, K bets, F candidates for a mean, lowest first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redshank.cells import FloatArray

CANDIDATES = 24
ROUNDS = 5
"""Of the search for the lowest candidate, each 16 times as fine as the one before."""
NO_BET = 0.2
"""w_0, the share that is not put on any bet: E(mu) is nowhere less. It is what a change costs that
shows before the reference's doubt matters."""
BETS = (2.5, 5.0, 10.0, 20.0, 40.0)
"""c_j times sqrt(n): each is best at 2.5 .. 40 times the score's standard deviation in standard
errors, and standard deviations of scores lie between 0.05 and 0.5."""
TOP = 2.0
"""How far above the reference's mean candidates are looked at, in standard errors."""


@dataclass(frozen=True)
class Doubt:
    """Candidates of every score of a null.

    Attributes:
        slopes: [S, K, B], what a scene in a bin adds to d log M / d theta at the lowest candidate,
            where theta = log(m - 1 + 1 / lambda); see `edetector`.
        steps: [S, K, F], theta of each candidate less that of the lowest one, >= 0.
        prices: [S, F], what E is at least from a candidate to the next one.
    """

    slopes: FloatArray
    steps: FloatArray
    prices: FloatArray


def lowest_mean(
    score_B: FloatArray, p_B: FloatArray, *, scenes: float, delta: float, least: float
) -> float:
    """Lower confidence bound of a score's mean, at level 1 - `delta` for every number of scenes."""
    low, high = 0.0, float(score_B @ p_B)
    for _ in range(ROUNDS):
        means_F = np.linspace(low, high, 17)
        against_F = evidence_against(means_F, score_B, p_B, scenes=scenes, least=least)
        out = int((against_F >= 1 / delta).sum())
        if out == 0:
            return low
        low, high = float(means_F[out - 1]), float(means_F[min(out, 16)])
    return low


def candidates(score_B: FloatArray, p_B: FloatArray, *, scenes: float, lowest: float) -> FloatArray:
    """Means [F] that stand for all from `lowest` to 1; the last one for those above it, too."""
    mean = float(score_B @ p_B)
    variance = max(float(score_B**2 @ p_B) - mean**2, 1 / scenes)
    top = min(max(mean, lowest) + TOP * float(np.sqrt(variance / scenes)), 1.0)
    return np.linspace(lowest, max(top, lowest), CANDIDATES)


def evidence_against(
    means_F: FloatArray, score_B: FloatArray, p_B: FloatArray, *, scenes: float, least: float
) -> FloatArray:
    """E [F]: the reference's evidence that its mean is above each of `means_F`; falls with them.

    Args:
        means_F: in [0, 1].
        score_B: value of the score in each bin.
        p_B: the reference, as shares that sum to 1.
        scenes: behind it.
        least: smallest value that the score can have in any bin it is about.
    """
    # at most .9 / (1 - least): no factor falls below .1, whatever the mean
    bets_J = np.minimum(np.array(BETS) / np.sqrt(scenes), 0.9 / (1 - least))
    used_B = p_B > 0
    gaps_FB = score_B[used_B] - means_F[:, None]
    log_wealth_JF = np.log1p(bets_J[:, None, None] * gaps_FB) @ (p_B[used_B] * scenes)
    wealth_JF = np.exp(np.minimum(log_wealth_JF, 460.0))
    return np.asarray(NO_BET + (1 - NO_BET) * wealth_JF.mean(axis=0))


def prices_of(
    means_F: FloatArray, score_B: FloatArray, p_B: FloatArray, *, scenes: float, least: float
) -> FloatArray:
    """Least E between each candidate and the next one [F]; beyond the last one it is `NO_BET`."""
    found_F = evidence_against(means_F, score_B, p_B, scenes=scenes, least=least)
    return np.append(found_F[1:], NO_BET)
