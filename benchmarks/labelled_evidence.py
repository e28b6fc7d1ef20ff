"""How many labels confirm a loss of accuracy, and how often labels cry wolf.

    python -m benchmarks.labelled_evidence

Sites are mixtures of what one trained model answered to faithful and to harmed photographs of the
same digits, mixed to an exact loss; labels are drawn with replacement, and somebody looks at the
evidence after every label. Each stream has a fresh reference of labelled images.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from monitoring.edetector import threshold
from monitoring.labelled import (
    CONFIRMS,
    LABELLED_DETECTION_SHARE,
    LABELLED_SHARE,
    REFUTED_LOSS,
    RIGHT,
    Promise,
    log_bets,
    promise_of,
    weeks_of,
)
from redshank.cells import FloatArray, IntArray

from .monitor_field import PLAN
from .monitor_pools import ROOT, Pool, Pools, prepare_pools
from .monitor_streams import is_within, upper_bound

Bools: TypeAlias = NDArray[np.bool_]
STREAMS = 1000
PERIOD_S = 30 * 86_400.0
PER_WEEK = 100
"""Labels of a week of the still streams."""
MOST_LABELS = 1000
"""Labels of a stream with a loss, all of one week."""
REFERENCES = (300, 1000, 3000)
LOSSES = (0.05, 0.1, 0.2, 0.3)
FRAMES = 20
"""Near-duplicate frames of a burst."""
FALSE_ALARMS = 0.05
SHARE = LABELLED_SHARE * FALSE_ALARMS
"""Of alpha, for the labelled test."""


def right_answers(rng: np.random.Generator, home: Pool, harmed: Pool, loss: float, n: int) -> Bools:
    """Whether n drawn answers are right, of a site that loses exactly `loss` against home."""
    share = loss / (home.accuracy - harmed.accuracy) if loss else 0.0
    index_N = rng.integers(0, len(home.label_N), n)
    right_2N = np.stack([(p.class_N == p.label_N)[index_N] for p in (home, harmed)])
    return np.asarray(np.where(rng.random(n) < share, right_2N[1], right_2N[0]), dtype=np.bool_)


def promised(rng: np.random.Generator, home: Pool, images: int, *, alpha: float) -> Promise:
    """What a fresh reference of so many labelled images promises, as a bundle would carry it."""
    right = int(right_answers(rng, home, home, 0.0, images).sum())
    table_CCZ = np.array([[[right], [images - right]], [[0], [0]]], dtype=np.float64)
    delta = (1 - LABELLED_DETECTION_SHARE) * alpha
    promise = promise_of(table_CCZ, delta=delta, margin=PLAN.margin)
    if promise is None:
        raise ValueError("the reference promises nothing")
    return promise


def first_look(
    promise: Promise, right_WN: Bools, line: float, weight_WN: FloatArray | None = None
) -> int:
    """Labels until the evidence reaches `line`, looking after each one; -1: never.

    Args:
        promise: what the site is held to.
        right_WN: right answers of N labels in each of W weeks.
        line: threshold of the Shiryaev-Roberts evidence.
        weight_WN: shares of scenes; 1 each when omitted.
    """
    log_bets_FKB = log_bets(RIGHT, promise.held_F)
    M_FK, seen = np.zeros(log_bets_FKB.shape[:2]), 0
    for week, right_N in enumerate(right_WN):
        gains_FKN = log_bets_FKB[:, :, 1 - right_N.astype(int)]
        if weight_WN is not None:
            gains_FKN = gains_FKN * weight_WN[week]
        M_FKN = (M_FK + 1)[:, :, None] * np.exp(np.minimum(np.cumsum(gains_FKN, axis=2), 460.0))
        evidence_N = (M_FKN.mean(axis=1) * promise.prices_F[:, None]).min(axis=0)
        over = np.flatnonzero(evidence_N >= line)
        if len(over):
            return seen + int(over[0]) + 1
        M_FK, seen = M_FKN[:, :, -1], seen + len(right_N)
    return -1


def verdict_after(
    score_B: FloatArray, bounds_F: FloatArray, prices_F: FloatArray, right_N: Bools
) -> int:
    """Labels until those of an open alarm confirm or refute it, -1: never."""
    gains_FKN = log_bets(score_B, bounds_F)[:, :, 1 - right_N.astype(int)]
    wealth_FKN = np.exp(np.minimum(np.cumsum(gains_FKN, axis=2), 460.0))
    least_N = (wealth_FKN.mean(axis=1) * prices_F[:, None]).min(axis=0)
    over = np.flatnonzero(least_N >= CONFIRMS)
    return int(over[0]) + 1 if len(over) else -1


def known(accuracy: float) -> Promise:
    """The promise of a reference without doubt."""
    return Promise(accuracy, 10**9, np.array([accuracy]), np.ones(1))


def false_alarms(home: Pool, *, streams: int) -> bool:
    """Print how often sites as good as the reference are called worse."""
    weeks = weeks_of(PERIOD_S)
    print(
        f"\nAs good as the reference, {weeks} weeks of {PER_WEEK} labels, margin {PLAN.margin}.\n"
    )
    print("| reference | promised | streams | alarmed | 95 % upper bound | |\n|" + " --- |" * 6)
    kept = True
    for images in REFERENCES:
        for alpha in (SHARE, FALSE_ALARMS):
            line = threshold(weeks, LABELLED_DETECTION_SHARE * alpha)
            alarms = 0
            for stream in range(streams):
                rng = np.random.default_rng([41, stream, images])
                promise = promised(rng, home, images, alpha=alpha)
                right_N = right_answers(rng, home, home, 0.0, weeks * PER_WEEK)
                alarms += first_look(promise, right_N.reshape(weeks, PER_WEEK), line) > 0
            kept &= _rate(f"{images} labelled images", alpha, alarms, streams)
    return kept & at_the_edge(streams=streams) & bursts(home, streams=streams)


def at_the_edge(*, streams: int) -> bool:
    """Sites exactly as good as they are held to: the worst case that the promise covers."""
    weeks, kept = weeks_of(PERIOD_S), True
    for bound in (0.6, 0.85, 0.95):
        for alpha in (SHARE, FALSE_ALARMS):
            rng = np.random.default_rng([42, int(100 * bound)])
            right_RWN = rng.random((streams, weeks, PER_WEEK)) < bound
            line = threshold(weeks, LABELLED_DETECTION_SHARE * alpha)
            alarms = sum(first_look(known(bound), right_WN, line) > 0 for right_WN in right_RWN)
            kept &= _rate(
                f"known, accuracy exactly {bound}",
                LABELLED_DETECTION_SHARE * alpha,
                alarms,
                streams,
            )
    return kept


def bursts(home: Pool, *, streams: int) -> bool:
    """Labels of bursts of 20 near-duplicate frames that are all right or all wrong."""
    weeks, alarms = weeks_of(PERIOD_S), {True: 0, False: 0}
    line = threshold(weeks, LABELLED_DETECTION_SHARE * FALSE_ALARMS)
    for stream in range(streams):
        rng = np.random.default_rng([43, stream])
        promise = promised(rng, home, 1000, alpha=FALSE_ALARMS)
        scenes = right_answers(rng, home, home, 0.0, weeks * PER_WEEK // FRAMES)
        right_WN = scenes.repeat(FRAMES).reshape(weeks, PER_WEEK)
        weight_WN = np.full(right_WN.shape, 1 / FRAMES)
        alarms[True] += first_look(promise, right_WN, line, weight_WN) > 0
        alarms[False] += first_look(promise, right_WN, line) > 0
    kept = _rate("1000, bursts of 20 frames, scene weights", FALSE_ALARMS, alarms[True], streams)
    broken = not _rate(
        "1000, bursts of 20 frames, each one counted", FALSE_ALARMS, alarms[False], streams
    )
    return kept and broken


def _rate(name: str, promised: float, alarms: int, streams: int) -> bool:
    holds = is_within(alarms, streams, promised)
    print(
        f"| {name} | {promised:.2%} | {streams} | {alarms} ({alarms / streams:.1%}) "
        f"| {upper_bound(alarms, streams):.1%} | {'holds' if holds else 'broken'} |",
        flush=True,
    )
    return holds


def labels_needed(home: Pool, harmed: Pool, *, streams: int) -> bool:
    """Print how many labels raise an alarm on their own, and how many confirm an open one."""
    line = threshold(weeks_of(PERIOD_S), LABELLED_DETECTION_SHARE * SHARE)
    print(f"\nAccuracy at home {home.accuracy:.1%}; labels until 50 % and 90 % of the streams.\n")
    columns = ("loss", "reference", "alarm by labels alone", "an open alarm confirmed")
    print(f"| {' | '.join((*columns, 'by 30 labels', 'by 50', 'by 100'))} |\n|" + " --- |" * 7)
    found_all = True
    for loss in LOSSES:
        for images in REFERENCES:
            alone_R, confirmed_R = np.zeros((2, streams), dtype=np.int64)
            for stream in range(streams):
                rng = np.random.default_rng([44, stream, images, int(100 * loss)])
                promise = promised(rng, home, images, alpha=SHARE)
                right_N = right_answers(rng, home, harmed, loss, MOST_LABELS)
                alone_R[stream] = first_look(promise, right_N[None], line)
                confirmed_R[stream] = verdict_after(
                    RIGHT, promise.held_F, promise.prices_F, right_N
                )
            shares = " | ".join(f"{_within(confirmed_R, n):.0%}" for n in (30, 50, 100))
            print(
                f"| {100 * loss:.0f} points | {images} | {_quantiles(alone_R)} "
                f"| {_quantiles(confirmed_R)} | {shares} |",
                flush=True,
            )
            found_all &= loss < 0.2 or _within(alone_R, MOST_LABELS) == 1.0
    return found_all


def refutations(home: Pool, harmed: Pool, *, streams: int) -> bool:
    """Print how many labels refute an alarm of harm, and how often they wrongly do."""
    print(f"\nAn open alarm refuted: a loss of {100 * REFUTED_LOSS:.0f} points is ruled out.\n")
    print(
        "| true loss | reference | labels until 50 % and 90 % | refuted by 50 | by 100 | by 200 |"
    )
    print("|" + " --- |" * 6)
    kept = True
    for loss in (0.0, 0.05, 0.1, 0.15):
        for images in REFERENCES:
            after_R = np.zeros(streams, dtype=np.int64)
            for stream in range(streams):
                rng = np.random.default_rng([45, stream, images, int(100 * loss)])
                least = promised(rng, home, images, alpha=SHARE).accuracy - REFUTED_LOSS
                right_N = right_answers(rng, home, harmed, loss, 200)
                bound_F = np.array([1 - least])
                after_R[stream] = verdict_after(1 - RIGHT, bound_F, np.ones(1), right_N)
            shares = " | ".join(f"{_within(after_R, n):.1%}" for n in (50, 100, 200))
            print(f"| {100 * loss:.0f} points | {images} | {_quantiles(after_R)} | {shares} |")
            # at exactly the loss that is ruled out a small reference that is too low misleads
            wrong = int((after_R > 0).sum())
            kept &= loss <= REFUTED_LOSS or is_within(wrong, streams, 1 / CONFIRMS)
    return kept


def _within(labels_R: IntArray, most: int) -> float:
    return float(((labels_R > 0) & (labels_R <= most)).mean())


def _quantiles(labels_R: IntArray) -> str:
    """Labels by which half and nine tenths of the streams were found."""
    in_order = np.sort(np.where(labels_R > 0, labels_R, np.iinfo(np.int64).max))
    places = [in_order[int(np.ceil(q * len(in_order))) - 1] for q in (0.5, 0.9)]
    most = np.iinfo(np.int64).max
    return ", ".join("never" if place == most else str(place) for place in places)


def harmed_site(pools: Pools, home: Pool) -> Pool:
    """The site of home's content that lost most: mixed with home it gives any smaller loss."""
    others = [pool for pool in pools.sites if pool.content == home.content]
    return min(others, key=lambda pool: pool.accuracy)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all tables; exit status 1 when a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--content", default="mnist", choices=("mnist", "syn"))
    options = parser.parse_args(arguments)
    pools, streams = prepare_pools(options.root), options.streams
    home = pools.site(options.content)
    harmed = harmed_site(pools, home)
    parts: tuple[Callable[[], bool], ...] = (
        lambda: false_alarms(home, streams=streams),
        lambda: labels_needed(home, harmed, streams=streams),
        lambda: refutations(home, harmed, streams=streams),
    )
    held = [part() for part in parts]
    print(f"\n{'All promises held.' if all(held) else 'A promise was broken.'}")
    return 0 if all(held) else 1


if __name__ == "__main__":
    raise SystemExit(main())
