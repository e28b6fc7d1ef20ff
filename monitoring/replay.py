"""Proof that state follows from the stored counts: rebuild every stream and compare."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path

from redshank.store.monitor import MonitorStore
from redshank.store.monitor_retention import checkpoints
from redshank.store.monitor_rows import StreamKey, Window

from .baseline import read_baseline
from .counts import TickCounts
from .fleet import labels_in_force
from .stream import Plan, Stream

REBUILT = (
    *("burn_in", "recent", "health", "totals", "absolute", "relative", "labelled", "last_tick"),
)
"""Parts of a stream's memory that its windows and its labelled answers determine (open scenes need
the raw events)."""


def rebuild(store: MonitorStore, bundles: Path, plan: Plan) -> dict[StreamKey, Stream]:
    """Every stream, from its windows, its labelled answers and what operators accepted.

    Where old windows were deleted, from the checkpoint that was kept in their place.
    """
    streams: dict[StreamKey, Stream] = {}
    bases = checkpoints(store.engine)
    accepted: dict[StreamKey, deque[int]] = {}
    for acceptance in store.acceptances():
        accepted.setdefault(acceptance.key, deque()).append(acceptance.tick)

    def begin(key: StreamKey, first_tick: float) -> None:
        streams[key] = Stream(key, read_baseline(bundles / key.version, plan.precision), plan)
        base = bases.get(key)
        if base is not None and base.tick < first_tick:  # else no window was deleted
            streams[key].remember(base.memory)
            accepted[key] = deque(tick for tick in accepted.get(key, ()) if tick >= base.tick)

    for window in store.windows():
        if window.key not in streams:
            begin(window.key, window.tick)
        _accept(streams[window.key], accepted, before_tick=window.tick)
        streams[window.key].advance(_counts_of(window))
    for key in bases.keys() - streams.keys():
        begin(key, math.inf)
    for stream in streams.values():
        _accept(stream, accepted, before_tick=math.inf)
    for key, answers in labels_in_force(store).items():
        if key in streams:
            streams[key].labelled.take(answers)
    return streams


def _accept(stream: Stream, accepted: dict[StreamKey, deque[int]], *, before_tick: float) -> None:
    ticks = accepted.get(stream.key, deque())
    while ticks and ticks[0] < before_tick:
        ticks.popleft()
        stream.accept()


def _counts_of(window: Window) -> TickCounts:
    return TickCounts(
        tick=window.tick,
        events=window.events,
        errors=window.errors,
        scenes=window.scenes,
        cells_CZ=window.cells_CZ,
        novelty_Q=window.novelty_Q,
        last_event_s=window.at_s,
        open_scenes=(),
        defects=window.defects,
    )


def differing(store: MonitorStore, bundles: Path, plan: Plan) -> list[StreamKey]:
    """Streams whose stored memory is not bit for bit what their windows give."""
    rebuilt = rebuild(store, bundles, plan)
    different = []
    for row in store.streams():
        memory = rebuilt[row.key].memory() if row.key in rebuilt else {}
        if any(memory.get(part) != row.memory.get(part) for part in REBUILT):
            different.append(row.key)
    return different
