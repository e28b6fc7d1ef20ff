"""The whole monitor of one site after the other, on answers drawn from pools.

As the evaluator does it: burn-in, both references, class mix, alarms; only the database is left
out. One image is one scene.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from monitoring.alarms import judge
from monitoring.baseline import Baseline, read_baseline
from monitoring.counts import TickCounts
from monitoring.stream import Plan, Stream
from redshank.cells import IntArray, cell_counts, novelty_counts
from redshank.settings import MonitoringSettings
from redshank.store.monitor_rows import Alarm, StreamKey, Window

from .monitor_pools import NUM_CLASSES, Pool, Pools
from .monitor_streams import PER_TICK

KEY = StreamKey("digits", "b1", "site")
DEFAULTS = MonitoringSettings()
PLAN = Plan(
    tick_s=DEFAULTS.tick_s,
    period_ticks=DEFAULTS.period_ticks,
    false_alarms=DEFAULTS.false_alarms,
    margin=DEFAULTS.margin,
    absolute_margin=DEFAULTS.absolute_margin,
    burn_in_scenes=DEFAULTS.burn_in_scenes,
    scene_gap_s=DEFAULTS.scene_gap_s,
    scene_distance=DEFAULTS.scene_distance,
)
"""The defaults of `[monitoring]`."""
PATIENCE = 1000
"""Images after the change within which it should be found."""


@dataclass
class Watched:
    """One site under the monitor."""

    baseline: Baseline
    plan: Plan = PLAN
    alarms: list[Alarm] = field(default_factory=list)
    """All that were raised, in order."""

    def __post_init__(self) -> None:
        self.stream = Stream(KEY, self.baseline, self.plan)
        self._windows: list[Window] = []
        self._open: dict[str, Alarm] = {}

    def take(self, counts: TickCounts) -> None:
        """One tick."""
        self.stream.advance(counts)
        window = self.stream.window(counts)
        self._windows.append(window)
        for alarm in judge(self.stream, window, tuple(self._open.values()), self._since):
            if alarm.closed_s is None:
                self._open[alarm.alarm_id] = alarm
                self.alarms.append(alarm)
            else:
                del self._open[alarm.alarm_id]

    def first(self, kind: str) -> int | None:
        """Tick of the first alarm of a kind."""
        return next((a.raised_tick for a in self.alarms if a.kind == kind), None)

    def _since(self, tick: int) -> list[Window]:
        return [window for window in self._windows if window.tick >= tick]


def tick_of(pool: Pool, index: IntArray, tick: int) -> TickCounts:
    """The answers that `index` draws, as one tick."""
    return TickCounts(
        tick=tick,
        events=len(index),
        errors=0,
        scenes=len(index),
        cells_CZ=cell_counts(
            pool.class_N[index], pool.confidence_N[index], num_classes=NUM_CLASSES
        ),
        novelty_Q=novelty_counts(pool.novelty_N[index]),
        last_event_s=(tick + 0.5) * PLAN.tick_s,
        open_scenes=(),
    )


def draw_ticks(
    rng: np.random.Generator,
    parts: Iterable[tuple[Pool, int]],
    *,
    per_tick: int = PER_TICK,
    share_N: dict[int, float] | None = None,
) -> Iterator[TickCounts]:
    """Ticks of one pool after the other.

    Args:
        rng: of the draws.
        parts: pool and number of ticks.
        per_tick: images a tick.
        share_N: probability of each true class in the last part; as in the pool when omitted.
    """
    tick = 0
    listed = list(parts)
    for number, (pool, ticks) in enumerate(listed):
        p_N = None
        if share_N is not None and number == len(listed) - 1:
            weight_N = np.array([share_N.get(int(label), 0.0) for label in pool.label_N])
            p_N = weight_N / np.bincount(pool.label_N, minlength=NUM_CLASSES)[pool.label_N]
            p_N = p_N / p_N.sum()
        for _ in range(ticks):
            yield tick_of(pool, rng.choice(len(pool.label_N), per_tick, p=p_N), tick)
            tick += 1


def watch(baseline: Baseline, ticks: Iterable[TickCounts]) -> Watched:
    """Watch a site through all its ticks."""
    watched = Watched(baseline)
    for counts in ticks:
        watched.take(counts)
    return watched


def share_found(pools: Pools, *, repeats: int = 3) -> float:
    """Print how soon severe sites are called degraded; returns the share within `PATIENCE`.

    A site is severe when its severity is at least 4 and it lost at least 10 points of accuracy.
    """
    baseline = read_baseline(pools.bundle, "fp32")
    burn_in = PLAN.burn_in_scenes // PER_TICK + 10
    delays = []
    print("\n| site | accuracy | confidence | found in | median images |\n|" + " --- |" * 5)
    for site in pools.harmed(least_severity=4, least_loss=0.1):
        home = pools.site(site.content)
        found = []
        for seed in range(repeats):
            rng = np.random.default_rng([7, seed, *site.kind.encode()])
            parts = [(home, burn_in), (site, PATIENCE // PER_TICK)]
            first = watch(baseline, draw_ticks(rng, parts)).first("degraded")
            found.append(np.inf if first is None else (first - burn_in + 1) * PER_TICK)
        delays += found
        print(
            f"| {site.content} {site.kind} {site.severity:g} "
            f"| {100 * (site.accuracy - home.accuracy):+.1f} "
            f"| {100 * (site.confidence_N.mean() - home.confidence_N.mean()):+.1f} "
            f"| {sum(d < np.inf for d in found)} of {repeats} | {np.median(found):.0f} |"
        )
    early = sum(d <= 0 for d in delays)
    share = sum(0 < d < np.inf for d in delays) / len(delays)
    print(
        f"\nDegraded within {PATIENCE} images: {share:.1%} of {len(delays)} streams "
        f"({early} alarmed before the change); median {np.median(delays):.0f} images."
    )
    return share
