"""How often still and harmless sites alarm, against what was promised.

    python -m benchmarks.monitor_false_alarms

Streams are answers of one trained model to digits, drawn with replacement. A rate is called broken
when so many alarms would be improbable (level .001) under the promise.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from monitoring.baseline import Baseline, read_baseline
from monitoring.counts import TickCounts
from monitoring.scenes import OpenScene, weigh_frames
from redshank.cells import FloatArray
from redshank.field_scenes import Frame

from .monitor_field import PLAN, Watched, draw_ticks, watch
from .monitor_pools import NUM_CLASSES, ROOT, Pool, Pools, prepare_pools
from .monitor_streams import (
    KNOWN,
    FirstAlarms,
    first_alarms,
    is_within,
    reference_null,
    upper_bound,
)

REFERENCES = (100, 300, 1000)
STREAMS = {0.05: 1000, 0.005: 1000}
TICKS, PER_TICK = 500, 40
"""A budget period of 20,000 images."""
CHUNK = 500
"""Streams at once, for memory."""
LAMPS = ("warm_lamp", "cool_lamp")
BURN_IN, AFTER = PLAN.burn_in_scenes // 20 + 10, 60
"""Ticks of 20 images before and after a change."""


def still(rng: np.random.Generator, pool: Pool, streams: int, ticks: int) -> Iterator[FloatArray]:
    """Counts [R, B] of ticks of a site where nothing happens."""
    for _ in range(ticks):
        yield pool.counts(rng.integers(0, len(pool.label_N), (streams, PER_TICK)))


def exact(pool: Pool) -> FloatArray:
    """The pool's own histogram: the truth."""
    return np.asarray(pool.counts(np.arange(len(pool.label_N))[None])[0])


def still_alarms(pool: Pool, *, scenes: int | None, alpha: float, plug_in: bool) -> FirstAlarms:
    """First alarms of still streams, each with a fresh reference; None: a known one. Margin 0."""
    parts = []
    for chunk in range(STREAMS[alpha] // CHUNK):
        rng = np.random.default_rng([11, chunk, scenes or 0, int(1000 * alpha)])
        size = len(pool.label_N)
        if scenes is None:
            nulls = [reference_null(exact(pool), scenes=KNOWN, alpha=alpha, margin=0.0)] * CHUNK
        else:
            counts_RB = pool.counts(rng.integers(0, size, (CHUNK, scenes)))
            nulls = [
                reference_null(c, scenes=scenes, alpha=alpha, margin=0.0, plug_in=plug_in)
                for c in counts_RB
            ]
        parts.append(first_alarms(nulls, still(rng, pool, CHUNK, TICKS), alpha=alpha, period=TICKS))
    return FirstAlarms(
        np.concatenate([p.drift for p in parts]), np.concatenate([p.degraded for p in parts])
    )


def rates(pool: Pool) -> bool:
    """Print the rates of still streams; returns whether all promises held."""
    print(f"\nStill streams, {TICKS * PER_TICK} images (one budget period), margin 0.\n")
    print("| reference | promised | streams | alarmed | 95 % upper bound | degraded | |")
    print("|" + " --- |" * 7)
    kept = True
    for alpha in STREAMS:
        for scenes in (None, *REFERENCES):
            for plug_in in (False, True) if scenes == REFERENCES[-1] else (False,):
                found = still_alarms(pool, scenes=scenes, alpha=alpha, plug_in=plug_in)
                streams, alarms = len(found.drift), int((found.drift >= 0).sum())
                holds = is_within(alarms, streams, alpha)
                kept &= holds != plug_in
                name = "known" if scenes is None else f"{scenes} images"
                name += ", mean taken as the truth" if plug_in else ""
                print(
                    f"| {name} | {alpha:.1%} | {streams} | {alarms} ({alarms / streams:.1%}) "
                    f"| {upper_bound(alarms, streams):.1%} | {int((found.degraded >= 0).sum())} "
                    f"| {'holds' if holds else 'broken'} |",
                    flush=True,
                )
    return kept


def bursts(pool: Pool, *, streams: int = 200, ticks: int = 75) -> bool:
    """Bursts of about 20 similar frames, with and without scenes; all scenes are independent."""
    print("\n| bursts of 20 similar frames | streams | alarmed |\n| --- | --- | --- |")
    weighed: dict[bool, list[list[FloatArray]]] = {True: [], False: []}
    for stream in range(streams):
        rng = np.random.default_rng([13, stream])
        for with_scenes, one in _burst_counts(rng, pool, ticks).items():
            weighed[with_scenes].append(one)
    rng = np.random.default_rng(14)
    nulls = [
        reference_null(c, scenes=1000, alpha=0.05, margin=0.0)
        for c in pool.counts(rng.integers(0, len(pool.label_N), (streams, 1000)))
    ]
    alarms = {}
    for with_scenes, rows in weighed.items():
        found = first_alarms(nulls, np.stack(rows, axis=1), alpha=0.05, period=ticks)
        alarms[with_scenes] = int((found.drift >= 0).sum())
        words = "scene weights" if with_scenes else "each frame counted"
        print(f"| {words} | {streams} | {alarms[with_scenes]} |", flush=True)
    return is_within(alarms[True], streams, 0.05) and alarms[False] > streams / 2


def _burst_counts(rng: np.random.Generator, pool: Pool, ticks: int) -> dict[bool, list[FloatArray]]:
    """Counts of each tick of 20 frames, by whether frames are weighed by their scene."""
    open_scenes: tuple[OpenScene, ...] = ()
    found: dict[bool, list[FloatArray]] = {True: [], False: []}
    at_s, left, index, dhash = 0.0, 0, 0, 0
    for _ in range(ticks):
        frames, indices = [], []
        for _ in range(PER_TICK):
            at_s += 0.2
            if left == 0:
                left, index = int(rng.geometric(1 / 20)), int(rng.integers(len(pool.label_N)))
                dhash = int(rng.integers(2**63))
            left -= 1
            shaken = dhash ^ (1 << int(rng.integers(63)))  # one bit of the scene's hash differs
            frames.append(Frame(at_s, "camera", "", f"{shaken:016x}"))
            indices.append(index)
        weighed = weigh_frames(frames, open_scenes, gap_s=2.0, distance=6)
        open_scenes = weighed.open_scenes
        one_NB = pool.counts(np.array(indices)[:, None])
        found[True].append(np.asarray(weighed.weights_N @ one_NB))
        found[False].append(np.asarray(one_NB.sum(axis=0)))
    return found


def day_and_night(pools: Pools, *, streams: int = 200, ticks: int = 480) -> bool:
    """A site that is darker for 12 of 24 ticks: each night is a change, and none is harm for good.

    The promise asks that the mean does not fall below the reference's *given the past*; a night
    does. What is judged is `degraded`, with a reference of whole days.
    """
    print("\n| day and night, 20 days of hours | margin | streams | drift | degraded |")
    print("|" + " --- |" * 5)
    day = pools.site("mnist")
    kept = True
    for severity in (2.0, 3.0):
        night = pools.site("mnist", "night", severity)
        for name, dark in (("whole days", 500), ("daylight only", 0)):
            for margin in (0.0, 0.01):
                found = _cycles(day, night, dark=dark, margin=margin, streams=streams, ticks=ticks)
                drift, degraded = (int((a >= 0).sum()) for a in (found.drift, found.degraded))
                words = f"night {severity:g}, reference of {name}"
                print(f"| {words} | {margin:g} | {streams} | {drift} | {degraded} |", flush=True)
                kept &= dark == 0 or is_within(degraded, streams, 0.05)
    return kept


def _cycles(
    day: Pool, night: Pool, *, dark: int, margin: float, streams: int, ticks: int
) -> FirstAlarms:
    """Alarms of streams of 20 images an hour, against a reference with `dark` of 1,000 by night."""
    rng = np.random.default_rng(15)
    size = len(day.label_N)
    reference_RB = day.counts(rng.integers(0, size, (streams, 1000 - dark)))
    if dark:
        reference_RB = reference_RB + night.counts(rng.integers(0, size, (streams, dark)))
    nulls = [reference_null(c, scenes=1000, alpha=0.05, margin=margin) for c in reference_RB]
    shown = (
        (night if tick % 24 >= 12 else day).counts(rng.integers(0, size, (streams, 20)))
        for tick in range(ticks)
    )
    return first_alarms(nulls, shown, alpha=0.05, period=ticks)


def harmless(pools: Pools) -> bool:
    """Other classes and other lamps under the whole monitor: what may be news, and no harm."""
    print("\n| what changes | streams | degraded | of them by the look | drift, by cause |")
    print("|" + " --- |" * 5)
    baseline = read_baseline(pools.bundle, "fp32")
    home = pools.site("mnist")
    means = [float(home.confidence_N[home.label_N == c].mean()) for c in range(NUM_CLASSES)]
    hard = np.argsort(means)[:3]
    held = _row("nothing", baseline, [[(home, BURN_IN), (home, AFTER)]] * 200)
    mixes = [dict(enumerate(_dirichlet(seed))) for seed in range(200)]
    held &= _row(
        "class mix, Dirichlet(.3)", baseline, [[(home, BURN_IN), (home, AFTER)]] * 200, mixes
    )
    eighty = {c: 0.8 / 3 if c in hard else 0.2 / 7 for c in range(NUM_CLASSES)}
    held &= _row(
        "80 % of the three hardest classes",
        baseline,
        [[(home, BURN_IN), (home, AFTER)]] * 200,
        [eighty] * 200,
    )
    for lamp in LAMPS:
        changes = [
            [(home, BURN_IN), (pools.site("mnist", lamp, float(1 + n % 5)), AFTER)]
            for n in range(200)
        ]
        held &= _row(f"{lamp}, severity 1 to 5", baseline, changes)
    return held


def _dirichlet(seed: int) -> list[float]:
    return [float(p) for p in np.random.default_rng([17, seed]).dirichlet([0.3] * NUM_CLASSES)]


def _row(
    name: str,
    baseline: Baseline,
    changes: Sequence[Sequence[tuple[Pool, int]]],
    mixes: Sequence[dict[int, float]] = (),
) -> bool:
    """Print a row; returns whether `degraded` kept within its promise."""
    found: list[Watched] = []
    for n, parts in enumerate(changes):
        rng = np.random.default_rng([19, n])
        ticks: Iterator[TickCounts] = draw_ticks(rng, parts, share_N=mixes[n] if mixes else None)
        found.append(watch(baseline, ticks))
    degraded = [a for w in found for a in w.alarms[:] if a.kind == "degraded"]
    alarmed = sum(w.first("degraded") is not None for w in found)
    look = sum(alarm.cause == "look" for alarm in degraded)
    causes = Counter(a.cause for w in found for a in w.alarms if a.kind == "drift")
    shown = ", ".join(f"{cause} {n}" for cause, n in causes.most_common()) or "none"
    print(f"| {name} | {len(found)} | {alarmed} | {look} | {shown} |", flush=True)
    return is_within(alarmed, len(found), PLAN.false_alarms)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all tables; exit status 1 when a promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--only", nargs="+", choices=("rates", "bursts", "days", "harmless"))
    options = parser.parse_args(arguments)
    pools = prepare_pools(options.root)
    home = pools.site("mnist")
    parts: dict[str, Callable[[], bool]] = {
        "rates": lambda: rates(home),
        "bursts": lambda: bursts(home),
        "days": lambda: day_and_night(pools),
        "harmless": lambda: harmless(pools),
    }
    held = [part() for name, part in parts.items() if name in (options.only or parts)]
    print(f"\n{'All promises held.' if all(held) else 'A promise was broken.'}")
    return 0 if all(held) else 1


if __name__ == "__main__":
    raise SystemExit(main())
