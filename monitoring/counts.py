"""The events of one tick as scene-weighted counts, one set per stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from redshank.cells import FloatArray, cell_counts, novelty_counts
from redshank.events import OK, Event
from redshank.field_scenes import Frame
from redshank.store.monitor_rows import Defects, StreamKey

from .quality import inspect
from .scenes import OpenScene, weigh_frames


@dataclass(frozen=True)
class TickCounts:
    """What one stream showed in one tick."""

    tick: int
    events: int
    errors: int
    scenes: int
    cells_CZ: FloatArray
    novelty_Q: FloatArray
    last_event_s: float
    open_scenes: tuple[OpenScene, ...]
    defects: Defects = field(default_factory=Defects)
    seen: tuple[str, ...] = ()
    """Digests of the newest images."""

    @property
    def counts(self) -> FloatArray:
        """Confidence bins, then novelty bins, as the detectors take them."""
        return np.concatenate([self.cells_CZ.sum(axis=0), self.novelty_Q])


def by_stream(
    events: Iterable[Event], domain_of: Callable[[Event], str]
) -> dict[StreamKey, list[Event]]:
    """Group events by model version and domain, keeping their order."""
    groups: dict[StreamKey, list[Event]] = {}
    for event in events:
        key = StreamKey(event.model, event.version, domain_of(event))
        groups.setdefault(key, []).append(event)
    return groups


def count_tick(
    tick: int,
    events: Sequence[Event],
    open_scenes: Sequence[OpenScene],
    seen: Iterable[str] = (),
    *,
    num_classes: int,
    gap_s: float,
    distance: int,
) -> TickCounts:
    """Weigh the frames of one stream by scene and count them into cells.

    Args:
        tick: number of the tick.
        events: in order of time.
        open_scenes: scenes of earlier ticks that may go on.
        seen: digests of the newest images of earlier ticks.
        num_classes: classes of the model; a larger class index makes the table larger.
        gap_s: see `weigh_frames`.
        distance: see `weigh_frames`.
    """
    inspected = inspect(events, seen)
    good = inspected.usable
    answered = sum(event.outcome == OK and event.class_index >= 0 for event in events)
    frames = [Frame(e.received_at, e.client, e.sequence_id, e.dhash) for e in good]
    weighted = weigh_frames(frames, open_scenes, gap_s=gap_s, distance=distance)
    classes = np.array([event.class_index for event in good], dtype=np.int64)
    return TickCounts(
        tick=tick,
        events=len(events),
        errors=len(events) - answered,
        scenes=weighted.scenes,
        cells_CZ=cell_counts(
            classes,
            np.array([_ratio(event.confidence) for event in good]),
            weighted.weights_N,
            num_classes=max(num_classes, int(classes.max(initial=-1)) + 1),
        ),
        novelty_Q=novelty_counts(
            np.array([_ratio(event.novelty) for event in good]), weighted.weights_N
        ),
        last_event_s=events[-1].received_at,
        open_scenes=weighted.open_scenes if good else tuple(open_scenes),
        defects=inspected.defects,
        seen=inspected.seen,
    )


def add_cells(first_CZ: FloatArray, second_CZ: FloatArray) -> FloatArray:
    """Sum of two cell tables whose numbers of classes may differ."""
    if len(first_CZ) < len(second_CZ):
        first_CZ, second_CZ = second_CZ, first_CZ
    total = first_CZ.copy()
    total[: len(second_CZ)] += second_CZ
    return total


def _ratio(value: float) -> float:
    """A probability that rounding may have pushed over the edge."""
    return min(max(value, 0.0), 1.0) if value == value else 0.0  # NaN
