"""A database whose detectors were of an older kind: their state is rebuilt from the stored counts.

Evidence of one kind of detector means nothing to another. The counts do, and they are kept for
`window_days`: so the new detectors hold what they would, had they watched from the beginning, open
alarms stay open, and replay finds no difference.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from redshank.store.monitor import MonitorStore, TickWrite
from redshank.store.monitor_rows import StreamRow

from .edetector import EDetector
from .replay import REBUILT, rebuild
from .stream import Plan


def bring_up_to_date(store: MonitorStore, bundles: Path, plan: Plan) -> int:
    """Rebuild the memory of all streams when one holds state of an older detector.

    Args:
        store: the monitor database, by its one writer.
        bundles: folder of the bundles.
        plan: the promise that the new detectors keep.

    Returns:
        How many streams were rewritten; 0 when none was older.
    """
    if not is_older(store):
        return 0
    rows = store.streams()
    rebuilt = rebuild(store, bundles, plan)
    written = []
    for row in rows:
        if row.key in rebuilt:
            memory = rebuilt[row.key].memory()
            parts = {part: memory[part] for part in REBUILT}
            written.append(replace(row, memory={**row.memory, **parts}))
    store.commit(TickWrite(tick=store.last_tick(), streams=tuple(written)))
    return len(written)


def is_older(store: MonitorStore) -> bool:
    """Whether a stream holds state of an older detector."""
    return any(_is_older(row) for row in store.streams())


def _is_older(row: StreamRow) -> bool:
    states = (row.memory["absolute"], row.memory["relative"])
    return any(state is not None and not EDetector.reads(state) for state in states)
