"""Where the evaluator reads and whom it tells: given to it from outside."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from redshank.errors import RedshankError
from redshank.store.control_labels import LabelsGiven
from redshank.store.monitor import MonitorStore
from redshank.trigger import Trigger

from .drain import Calendar
from .operators import Request, Requests
from .triggers import Withdraw

Said = Request | LabelsGiven
"""What a person said: it counts after the tick in which it was said."""
LabelSource = Callable[[int], Iterable[LabelsGiven]]
"""Labels whose audit row comes after a number, oldest first."""


@dataclass(frozen=True)
class Surroundings:
    """Where the evaluator reads and whom it tells."""

    spool: Path
    bundles: Path
    answering: Callable[[str], frozenset[str] | None]
    """Model -> bundle ids that answer traffic now; None when nothing is known."""
    send: Callable[[Trigger], bool] | None
    """Stores a trigger in the control database; None: write none."""
    grace_s: float = 2.0
    """How long after its end a tick stays open for events that are still on their way."""
    named: Callable[[str], frozenset[str] | None] = lambda _: None
    """Model -> bundle ids that its release names in any role; None when nothing is known."""
    unread_releases: Callable[[], tuple[str, ...]] = lambda: ()
    """Why the release of a model, if any, could not be read when `answering` was asked last."""
    requests: Requests = lambda _: ()
    """What operators decided, by number of the last audit row that was applied."""
    labels: LabelSource = lambda _: ()
    """What people labelled, by number of the last audit row that was applied."""
    withdraw: Withdraw | None = None
    """Tells the control database that labels refuted the alarm of a trigger."""


def said_since(around: Surroundings, store: MonitorStore) -> tuple[deque[Said], tuple[str, ...]]:
    """What people decided and labelled since what was applied last, or why nobody knows."""
    try:
        said: list[Said] = list(around.requests(store.requests_seq()))
        said += around.labels(store.labels_seq())
        return deque(sorted(said, key=lambda one: one.seq)), ()
    except RedshankError as error:
        return deque(), (f"what people decided and labelled cannot be read: {error.message}",)


def labels_of_a_tick(said: deque[Said], calendar: Calendar) -> list[LabelsGiven]:
    """Take the first lots of labels of one tick: one search of the spools serves them all."""
    lots: list[LabelsGiven] = []
    while said and isinstance(lot := said[0], LabelsGiven):
        if lots and calendar.tick_at(lot.at_s) > calendar.tick_at(lots[0].at_s):
            break
        lots.append(lot)
        said.popleft()
    return lots
