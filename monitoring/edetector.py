"""Shiryaev-Roberts e-detector: evidence for "worse than the reference" with a false-alarm promise.

Bets on bounded scores of cell counts (see `scores`). Per non-empty tick, for score s and bet k,

    M_sk <- (M_sk + 1) exp( sum_b counts_b log(1 + lambda_sk (m_s - f_s(b))) ),
    M = sum_s w_s mean_k M_sk,  where the weights w_s sum to 1.

Under the null M_t - t is a supermartingale, so P(max of M over R ticks >= R / alpha) <= alpha, for
any dependence on the past and without simulation (Shin, Ramdas, Rinaldo 2023). A scene whose frames
carry weights that sum to at most 1 keeps the property, whatever the dependence inside it. Only
counts enter: the order inside a tick does not matter and the counts of two workers add.

Shapes: S scores, K bets, B bins; leading dimensions `...` are independent streams.
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
    """Sequential evidence against one null; O(1) state, O(S K B) work per tick.

    Args:
        null: what is tested; its arrays may have leading dimensions, one null a stream.
        highest: cap of the evidence. Lowering it never adds false alarms; it lets the evidence of
            a drift that ended fade in reasonable time.
        streams: leading shape for many independent streams at once.
    """

    def __init__(
        self, null: Null, *, highest: float = HIGHEST, streams: tuple[int, ...] = ()
    ) -> None:
        shape = (*streams, *null.log_bets.shape[-3:-1])
        self.null = null
        self.highest = highest
        self.M_SK: FloatArray = np.zeros(shape)
        self.cusum_SK: FloatArray = np.ones(shape)
        self.onset_SK: IntArray = np.full(shape, -1, dtype=np.int64)

    def update(self, counts_B: FloatArray, tick: int) -> None:
        """Take the weighted counts [..., B] of one tick; a stream without counts is untouched."""
        log_gain_SK = np.einsum("...b,...skb->...sk", counts_B, self.null.log_bets)
        gain_SK = np.exp(np.minimum(log_gain_SK, 460.0))
        seen = (np.asarray(counts_B).sum(axis=-1) > 0)[..., None, None]
        risen_SK = np.minimum((self.M_SK + 1) * gain_SK, self.highest)
        self.M_SK = np.where(seen, risen_SK, self.M_SK)
        # Companion CUSUM: where it stands at its floor of 1, the change has not begun yet.
        fresh = seen & ((self.cusum_SK <= 1) | (self.onset_SK < 0))
        self.onset_SK = np.where(fresh, tick, self.onset_SK)
        cusum_SK = np.minimum(np.maximum(self.cusum_SK, 1) * gain_SK, HIGHEST)
        self.cusum_SK = np.where(seen, cusum_SK, self.cusum_SK)

    @property
    def evidence(self) -> FloatArray:
        """M [...], to be compared with `threshold`; 0 before the first tick."""
        return np.asarray((self.M_SK.mean(axis=-1) * self.null.weights).sum(axis=-1))

    def evidence_of(self, group: str) -> FloatArray:
        """Part of the evidence that the scores of one group bring; groups sum to `evidence`.

        Each part is below the whole, so that alarms on parts share one false-alarm promise.
        """
        weight_S = self.null.weights * self.null.group_mask(group)
        return np.asarray((self.M_SK.mean(axis=-1) * weight_S).sum(axis=-1))

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
            "cusum": self.cusum_SK.tolist(),
            "onset": self.onset_SK.tolist(),
        }

    def fits(self, state: dict[str, Any]) -> bool:
        """Whether the state has the shape of this detector's null."""
        return bool(np.shape(state["M"]) == self.M_SK.shape)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave.

        Raises:
            ValueError: the state belongs to a null with other scores.
        """
        if not self.fits(state):
            raise ValueError(
                f"state has shape {np.shape(state['M'])}, the null needs {self.M_SK.shape}"
            )
        self.M_SK = np.asarray(state["M"], dtype=np.float64)
        self.cusum_SK = np.asarray(state["cusum"], dtype=np.float64)
        self.onset_SK = np.asarray(state["onset"], dtype=np.int64)
