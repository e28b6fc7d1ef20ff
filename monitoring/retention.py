"""What the evaluator forgets: old windows, and streams of versions that are no longer in use."""

from __future__ import annotations

from collections.abc import Callable

from redshank.store.monitor import MonitorStore
from redshank.store.monitor_days import fold_days
from redshank.store.monitor_retention import last_tidied, tidy
from redshank.store.monitor_rows import StreamKey

from .fleet import Fleet
from .stream import Plan


def tidy_up(
    store: MonitorStore,
    fleet: Fleet,
    *,
    plan: Plan,
    named: Callable[[str], frozenset[str] | None],
) -> bool:
    """Sum up days that are over; every half retention time, delete what is older.

    Args:
        store: the monitor database, by its one writer.
        fleet: forgets the same streams.
        plan: how long a tick is, and for how many windows are kept (0: for ever).
        named: model -> bundle ids that its release names in any role; None when nothing is known.
    """
    tick, before = fleet.last_tick, last_tidied(store.engine)
    if fleet.is_new_day(plan.tick_s):
        fold_days(store.engine, tick=tick, tick_s=plan.tick_s)
    keep_ticks = plan.keep_ticks
    if keep_ticks == 0 or tick < 0 or (before is not None and tick - before < keep_ticks / 2):
        return False
    horizon = tick - keep_ticks

    def is_gone(key: StreamKey) -> bool:
        versions = named(key.model)
        is_unnamed = versions is not None and key.version not in versions
        return is_unnamed and fleet.rows[key].last_tick < horizon

    gone = [key for key in fleet.rows if is_gone(key)]
    tidy(store.engine, tick=tick, horizon=horizon, gone=gone)
    fleet.forget(gone)
    return True
