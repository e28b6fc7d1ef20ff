"""How often a domain's answers are right, by estimate: a number with an interval, or "unknown".

The bundle's maps come from corrupted labelled images (`export/accuracy_map.py`). The interval spans
what both say, and what they got wrong on families of harm that they had not met, at accuracies like
this one (split conformal with families left out), and the error of a finite number of scenes. Where
answers are unlike all that the maps were fitted on there is no number, only a sentence why.

Shapes: P labelled pools, S statistics, M maps, Z confidence and Q novelty bins, G points of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from redshank.accuracy import AccuracyPools, log_odds, mapped_accuracy, pool_statistics
from redshank.cells import FloatArray

from .sample import Sample

LEAST_SCENES = 30
"""Scenes below which nothing is said."""
MOSTLY_NEW = 0.5
"""Share of images beyond the 95 % novelty quantile from which nobody can tell."""
LEVEL = 0.9
"""Nominal coverage of the interval."""
NORMAL = 1.645
"""Two-sided normal quantile of `LEVEL`."""
REGION = 1 / 8
"""Share of the labelled pools, nearest in estimated accuracy, whose errors make the interval."""
LEAST_REGION = 30
"""Pools that make it at least."""
NO_MAP = (
    "the bundle has no map for it, as it is of an older export, or of a run with fewer than 30 "
    "labelled validation images"
)
GRID_ODDS = np.linspace(-5.5, 5.5, 45)
"""Log odds of accuracy at which errors are looked up; in between they are interpolated."""
NEIGHBOURS = 0.99
"""Quantile of the labelled pools' distances to the nearest other one."""
REACH = 2.0
"""How many such distances from the nearest labelled pool are out of range."""


@dataclass(frozen=True)
class Estimate:
    """Accuracy of recent answers, ratios in [0, 1]; None where nobody can tell."""

    accuracy: float | None
    lower: float | None
    upper: float | None
    sentence: str

    def to_detail(self) -> dict[str, Any]:
        """JSON values for `StreamRow.detail["accuracy"]`."""
        return {
            "estimate": _rounded(self.accuracy),
            "lower": _rounded(self.lower),
            "upper": _rounded(self.upper),
            "sentence": self.sentence,
            "source": "estimate",
        }


class AccuracyMap:
    """The maps of one bundle, made ready to be asked many times."""

    def __init__(self, pools: AccuracyPools) -> None:
        self._weights_MW = pools.weights_MW
        spread_S = pools.statistics_PS.std(axis=0)
        self._scale_S = 1 / np.where(spread_S > 1e-9, spread_S, 1.0)
        self._fitted_PS = pools.statistics_PS * self._scale_S
        self._reach = _reach(self._fitted_PS)
        self._below_G, self._above_G = _errors(pools)

    def values(self, statistics_S: FloatArray) -> tuple[float, ...]:
        """What each map says, whatever the answers are like; the first is the estimate."""
        return tuple(mapped_accuracy(self._weights_MW, statistics_S).tolist())

    def interval(self, values: Sequence[float], scenes: float) -> tuple[float, float]:
        """Lower and upper end around what the maps say of so many scenes, within [0, 1]."""
        accuracy = values[0]
        odds = math.log(accuracy / (1 - accuracy))
        chance = NORMAL * math.sqrt(accuracy * (1 - accuracy) / scenes)
        below = float(np.interp(odds, GRID_ODDS, self._below_G))
        above = float(np.interp(odds, GRID_ODDS, self._above_G))
        lower, upper = (
            min(values) - math.hypot(below, chance),
            max(values) + math.hypot(above, chance),
        )
        return max(lower, 0.0), min(upper, 1.0)

    def is_familiar(self, statistics_S: FloatArray) -> bool:
        """Whether the maps were fitted on pools with statistics like these."""
        away_PS = self._fitted_PS - statistics_S * self._scale_S
        return float(np.einsum("ps,ps->p", away_PS, away_PS).min()) <= self._reach**2


def estimate(
    known: AccuracyMap | None, sample: Sample, *, which: str = "recent answers", complaint: str = ""
) -> Estimate:
    """What to say of a domain's accuracy.

    Args:
        known: the bundle's map; None when it has none.
        sample: the answers to judge.
        which: words for them, as in "answers since the onset".
        complaint: what is wrong with the camera; empty when nothing is.
    """
    if known is None:
        return _none(NO_MAP)
    if complaint:
        return _none("the camera is judged before the model")
    scenes = float(sample.novelty_Q.sum())
    if scenes < LEAST_SCENES:
        return _none(f"the {which} show {scenes:.0f} scenes, {LEAST_SCENES} are needed")
    share = float(sample.novelty_Q[-1]) / scenes
    if share >= MOSTLY_NEW:
        return _none(f"{share:.0%} of the {which} are to images of a kind not seen in training")
    statistics_S = pool_statistics(sample.cells_CZ.sum(axis=0), sample.novelty_Q)
    if not known.is_familiar(statistics_S):
        return _none(f"the {which} are unlike any that the estimate was fitted on")
    values = known.values(statistics_S)
    lower, upper = known.interval(values, scenes)
    sentence = (
        f"Estimated without labels: {values[0]:.0%} of the {which} are right, {LEVEL:.0%} interval "
        f"{100 * lower:.0f} to {100 * upper:.0f} % ({scenes:.0f} scenes)."
    )
    return Estimate(values[0], lower, upper, sentence)


def _none(why: str) -> Estimate:
    return Estimate(None, None, None, f"Accuracy cannot be estimated without labels: {why}.")


def _reach(fitted_PS: FloatArray) -> float:
    """How far from the nearest labelled pool an answer may lie."""
    nearest_P = np.empty(len(fitted_PS))
    for p, found_S in enumerate(fitted_PS):
        square_P = ((fitted_PS - found_S) ** 2).sum(axis=1)
        square_P[p] = np.inf
        nearest_P[p] = square_P.min()
    return REACH * math.sqrt(float(np.quantile(nearest_P, NEIGHBOURS)))


def _errors(pools: AccuracyPools) -> tuple[FloatArray, FloatArray]:
    """How far the truth may lie below and above all maps, at each point of the grid."""
    below_P = pools.left_out_PM.min(axis=1) - pools.true_P
    above_P = pools.true_P - pools.left_out_PM.max(axis=1)
    odds_P = log_odds(pools.left_out_PM[:, 0])
    count = min(max(LEAST_REGION, round(REGION * len(odds_P))), len(odds_P))
    below_G, above_G = np.zeros(len(GRID_ODDS)), np.zeros(len(GRID_ODDS))
    for g, odds in enumerate(GRID_ODDS):
        nearest = np.argsort(np.abs(odds_P - odds), kind="stable")[:count]
        for errors_P, found_G in ((below_P, below_G), (above_P, above_G)):
            found_G[g] = max(float(np.quantile(errors_P[nearest], (1 + LEVEL) / 2)), 0.0)
    return below_G, above_G


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
