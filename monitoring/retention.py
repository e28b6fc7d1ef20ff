"""What the evaluator forgets: old windows, and streams of versions that are no longer in use."""

from __future__ import annotations

from collections.abc import Callable

from redshank.store.monitor import MonitorStore
from redshank.store.monitor_retention import last_tidied, tidy
from redshank.store.monitor_rows import StreamKey

from .fleet import Fleet


def tidy_up(
    store: MonitorStore,
    fleet: Fleet,
    *,
    keep_ticks: int,
    named: Callable[[str], frozenset[str] | None],
) -> bool:
    """Every half retention time, delete what is older; returns whether it was time.

    Args:
        store: the monitor database, by its one writer.
        fleet: forgets the same streams.
        keep_ticks: how long windows are kept; 0 keeps everything.
        named: model -> bundle ids that its release names in any role; None when nothing is known.
    """
    tick, before = fleet.last_tick, last_tidied(store.engine)
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
