"""Shiryaev-Roberts e-detector: evidence for "worse than the reference" with a false-alarm promise.

Bets on bounded scores of cell counts (see `scores`). Per non-empty tick, for score s and bet k,

    M_sk(m) <- (M_sk(m) + 1) prod_b (1 + lambda_sk (m - f_s(b)))^counts_b,
    evidence = sum_s w_s min_mu E_s(mu) mean_k M_sk(mu - margin_s),    the weights w_s sum to 1.

E_s(mu) is what the reference itself says against the mean mu (see `reference_doubt`).

The promise: P(evidence reaches R / alpha within R ticks) <= alpha + delta when nothing got worse.
Proof. Let mu_s be the true means, so that E[f_s | past] >= m_s = mu_s - margin_s.
1. Each factor has mean <= 1 at m_s, given the past; so V_t - t, for V_t = mean_k M_sk(m_s), is a
   supermartingale (Shin, Ramdas, Rinaldo 2023), for any dependence on the past. A scene whose
   frames carry weights that sum to at most 1 keeps that, whatever the dependence inside it.
2. E_s(mu_s) is known before the first tick and has mean <= 1. So X_t = sum_s w_s E_s(mu_s) V_st,
   stopped when it reaches c or at R, has mean <= R, and P(max X_t >= c) <= R / c (Markov).
3. But for probability delta every mu_s is at least its lower bound, hence among the candidates of
   the minimum, and evidence <= X_t. With c = R / alpha the promise follows, without simulation.

The minimum over all mu needs M at one candidate only, the lowest bound m_0, and one slope there.
With theta = log(m - 1 + 1 / lambda) a factor is lambda (e^theta + 1 - f), log-convex in theta, as
are products and sums of such: M lies above each line below it, in log M over theta. If a line is
below M, then the tangent at m_0 of (line + 1) times the tick's factors is below M of the next tick.
So the recursion keeps a line, and lowering it (`highest`) keeps it below. Between two candidates
E falls and M rises with mu: E at the upper one times the line at the lower one bounds all of them.

Only counts enter: the order inside a tick does not matter and the counts of two workers add.

Shapes: S scores, K bets, F candidates, B bins; leading dimensions `...` are independent streams.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from redshank.cells import FloatArray, IntArray

from .scores import Null

HIGHEST = 1e200


def threshold(ticks_per_period: float, alpha: float) -> float:
    """Evidence at which to alarm: at most `alpha` false alarms in a period of so many ticks."""
    if not (ticks_per_period >= 1 and 0 < alpha < 1):
        raise ValueError(
            f"ticks {ticks_per_period} and alpha {alpha}, expected >= 1 and between 0 and 1"
        )
    return ticks_per_period / alpha


class EDetector:
    """Sequential evidence against one null; O(1) state, O(S K (B + F)) work per tick.

    Args:
        null: what is tested; its arrays may have leading dimensions, one null a stream.
        highest: cap of M and of the evidence. Lowering them never adds false alarms; it lets the
            evidence of a drift that ended fade in reasonable time.
        streams: leading shape for many independent streams at once.
    """

    def __init__(
        self, null: Null, *, highest: float = HIGHEST, streams: tuple[int, ...] = ()
    ) -> None:
        shape = (*streams, *null.log_bets.shape[-3:-1])
        self.null = null
        self.highest = highest
        self.M_SK: FloatArray = np.zeros(shape)
        self.slope_SK: FloatArray = np.zeros(shape)
        self.cusum_SK: FloatArray = np.ones(shape)
        self.onset_SK: IntArray = np.full(shape, -1, dtype=np.int64)
        self._evidence_S: FloatArray | None = None

    def update(self, counts_B: FloatArray, tick: int) -> None:
        """Take the weighted counts [..., B] of one tick; a stream without counts is untouched."""
        self._evidence_S = None
        log_gain_SK = np.einsum("...b,...skb->...sk", counts_B, self.null.log_bets)
        gain_SK = np.exp(np.minimum(log_gain_SK, 460.0))
        seen = (np.asarray(counts_B).sum(axis=-1) > 0)[..., None, None]
        if (doubt := self.null.doubt) is not None:
            steeper_SK = np.einsum("...b,...skb->...sk", counts_B, doubt.slopes)
            slope_SK = self.slope_SK * (self.M_SK / (self.M_SK + 1)) + steeper_SK
            self.slope_SK = np.where(seen, slope_SK, self.slope_SK)
        risen_SK = np.minimum((self.M_SK + 1) * gain_SK, self.highest)
        self.M_SK = np.where(seen, risen_SK, self.M_SK)
        # Companion CUSUM: where it stands at its floor of 1, the change has not begun yet.
        fresh = seen & ((self.cusum_SK <= 1) | (self.onset_SK < 0))
        self.onset_SK = np.where(fresh, tick, self.onset_SK)
        cusum_SK = np.minimum(np.maximum(self.cusum_SK, 1) * gain_SK, HIGHEST)
        self.cusum_SK = np.where(seen, cusum_SK, self.cusum_SK)

    @property
    def evidence(self) -> FloatArray:
        """Evidence [...], to be compared with `threshold`; 0 before the first tick."""
        return np.asarray(self._by_score().sum(axis=-1))

    def evidence_of(self, group: str) -> FloatArray:
        """Part of the evidence that the scores of one group bring; groups sum to `evidence`.

        Each part is below the whole, so that alarms on parts share one false-alarm promise.
        """
        return np.asarray((self._by_score() * self.null.group_mask(group)).sum(axis=-1))

    def _by_score(self) -> FloatArray:
        """Weighted evidence of each score; it is asked for many times a tick."""
        if self._evidence_S is None:
            self._evidence_S = self._least_by_score()
        return self._evidence_S

    def _least_by_score(self) -> FloatArray:
        """Weighted evidence of each score, at the mean where there is least of it."""
        doubt = self.null.doubt
        if doubt is None:
            return np.asarray(self.M_SK.mean(axis=-1) * self.null.weights)
        line_SKF = self.slope_SK[..., None] * doubt.steps
        line_SKF += np.log(np.maximum(self.M_SK, 1e-300))[..., None]
        np.exp(np.minimum(line_SKF, 460.0, out=line_SKF), out=line_SKF)
        least_S = np.minimum((line_SKF.mean(axis=-2) * doubt.prices).min(axis=-1), self.highest)
        return np.asarray(least_S * self.null.weights)

    def onset(self, group: str | None = None) -> IntArray:
        """Estimated tick of the change [...]: where the strongest CUSUM (of a group) left 1."""
        kept_S = np.ones(len(self.null.groups)) if group is None else self.null.group_mask(group)
        cusum = np.where(kept_S[:, None] > 0, self.cusum_SK, 0.0)
        flat = cusum.reshape(*cusum.shape[:-2], -1)
        best = flat.argmax(axis=-1)[..., None]
        onset = self.onset_SK.reshape(flat.shape)
        return np.asarray(np.take_along_axis(onset, best, axis=-1)[..., 0])

    def state(self) -> dict[str, Any]:
        """State as JSON values; float64 survives JSON bit by bit."""
        return {
            "M": self.M_SK.tolist(),
            "slope": self.slope_SK.tolist(),
            "cusum": self.cusum_SK.tolist(),
            "onset": self.onset_SK.tolist(),
        }

    @staticmethod
    def reads(state: dict[str, Any]) -> bool:
        """Whether the state is of this kind of detector, of whatever null."""
        return "slope" in state

    def fits(self, state: dict[str, Any]) -> bool:
        """Whether the state is of this kind of detector, with the scores of its null."""
        return self.reads(state) and bool(np.shape(state["M"]) == self.M_SK.shape)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave.

        Raises:
            ValueError: the state belongs to a null with other scores.
        """
        if not self.fits(state):
            raise ValueError(
                f"state has shape {np.shape(state['M'])}, the null needs {self.M_SK.shape}"
            )
        self._evidence_S = None
        self.M_SK = np.asarray(state["M"], dtype=np.float64)
        self.slope_SK = np.asarray(state["slope"], dtype=np.float64)
        self.cusum_SK = np.asarray(state["cusum"], dtype=np.float64)
        self.onset_SK = np.asarray(state["onset"], dtype=np.int64)
