"""Is the challenger no worse than the champion? A one-sided test on images that both answered.

Only *discordant* images count: those that exactly one of the two got right. With n images, b that
only the champion got right and c that only the challenger got right, the drop of accuracy is
(b - c) / n. `non_inferior` tests drop >= margin against drop < margin with Tango's score test for
paired proportions (T. Tango, "Equivalence test and confidence interval for the difference in
proportions for the paired-sample design", Statistics in Medicine 17, 1998) and a continuity
correction of 1/2, which keeps the exact size below alpha for every n that we enumerated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from redshank.healing import Verdict

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PairedResult:
    """Outcome of `non_inferior`; ratios in [-1, 1]."""

    verdict: Verdict
    n: int
    drop: float
    """Accuracy of the champion minus accuracy of the challenger."""
    only_champion: int
    """Images that only the champion got right."""
    only_challenger: int
    detectable: float | None
    """Drop that n images with so many discordant ones just show at level alpha; None if n = 0."""


def non_inferior(
    champion_right_N: Bools, challenger_right_N: Bools, *, margin: float, alpha: float
) -> PairedResult:
    """Compare two models on the same labelled images.

    Args:
        champion_right_N: whether the champion got each image right.
        challenger_right_N: the same for the challenger.
        margin: drop of accuracy from which the challenger counts as worse, in (0, 1).
        alpha: error rate of each one-sided test, in (0, 0.5).

    Returns:
        `pass`: a drop of `margin` or more is refuted at level alpha. `fail`: the drop exceeds
        `margin`, and a drop of zero is refuted at level alpha. `cannot_tell`: neither.

    Raises:
        ValueError: unequal lengths, or a margin or alpha out of range.
    """
    if champion_right_N.shape != challenger_right_N.shape:
        raise ValueError(
            f"{champion_right_N.shape} champion and {challenger_right_N.shape} challenger answers, "
            "expected equal shapes"
        )
    if not (0 < margin < 1 and 0 < alpha < 0.5):
        raise ValueError(f"margin {margin} and alpha {alpha}, expected (0, 1) and (0, 0.5)")
    n = champion_right_N.size
    b = int((champion_right_N & ~challenger_right_N).sum())
    c = int((~champion_right_N & challenger_right_N).sum())
    if n == 0:
        return PairedResult("cannot_tell", 0, 0.0, 0, 0, None)
    z = NormalDist().inv_cdf(1 - alpha)
    drop = (b - c) / n
    verdict: Verdict = "cannot_tell"
    if score(b, c, n, margin) < -z:
        verdict = "pass"
    elif drop > margin and (b - c - 0.5) / math.sqrt(b + c) > z:  # McNemar, corrected
        verdict = "fail"
    return PairedResult(verdict, n, drop, b, c, detectable_drop(b + c, n, alpha=alpha))


def score(b: int, c: int, n: int, margin: float) -> float:
    """Tango's Z for a true drop of `margin`, corrected towards it; very negative refutes it.

    Equations (4) to (6) of the paper, with its p21 (only the challenger right) restricted to the
    hypothesis.
    """
    a_2 = 2 * n
    a_1 = -b - c + (2 * n - b + c) * margin
    a_0 = -c * margin * (1 - margin)
    only_challenger = (math.sqrt(a_1 * a_1 - 4 * a_2 * a_0) - a_1) / (2 * a_2)
    variance = n * (2 * only_challenger + margin * (1 - margin))
    return (b - c - n * margin + 0.5) / math.sqrt(variance)


def detectable_drop(discordant: int, n: int, *, alpha: float) -> float:
    """Smallest drop that n paired images show at level alpha, given their discordance.

    z * sqrt(d / n), with d = (discordant + 1) / (n + 2), so that no discordance at all does not
    claim to see everything.
    """
    rate = (discordant + 1) / (n + 2)
    return NormalDist().inv_cdf(1 - alpha) * math.sqrt(rate / n)
