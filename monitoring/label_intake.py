"""Labels into the fleet: which answers they are about, and which alarms they raise or end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from redshank.events import Event
from redshank.store.control_labels import LabelsGiven
from redshank.store.monitor_rows import Alarm, Evidence, LabelledAnswer, StreamKey
from redshank.store.spool_lookup import find_events

from .fleet import Fleet
from .labelled import Labelled
from .labelled_answers import answers_of
from .labelled_verdict import judge_labels
from .names import OTHER
from .stream import Plan

MOST_ANSWERS = 20_000
"""Labelled answers that a stream remembers, and the whole lot to which the oldest belongs."""


@dataclass(frozen=True)
class Intake:
    """What some lots of labels changed."""

    rows: tuple[LabelledAnswer, ...]
    """New ones and corrected ones."""
    keys: tuple[StreamKey, ...]
    """Streams that they belong to."""
    alarms: tuple[Alarm, ...]
    """New ones and ended ones."""
    oldest: dict[StreamKey, int]
    """Audit row of the oldest answers that a stream keeps, where it let older ones go."""


def take_labels(
    fleet: Fleet,
    lots: Sequence[LabelsGiven],
    *,
    spool: Path,
    plan: Plan,
    answers: Callable[[StreamKey], bool],
) -> Intake:
    """Let every stream take the labels of images that it answered.

    Labels of images that nobody answered here, or whose events have expired, change nothing.

    Args:
        fleet: its streams are changed.
        lots: labels in the order in which they were given.
        spool: folder of the servers' spool files.
        plan: distance of scenes.
        answers: whether a version answers traffic; one that does not raises no alarm.
    """

    def key_of(event: Event) -> StreamKey | None:
        for domain in (event.domain, OTHER):
            key = StreamKey(event.model, event.version, domain)
            if key in fleet.rows and fleet.stream(key).baseline.classes:
                return key
        return None

    events = find_events(spool, {digest for lot in lots for digest in lot.labels})
    before: dict[StreamKey, Evidence | None] = {}
    rows: dict[tuple[StreamKey, str], LabelledAnswer] = {}
    for lot in lots:
        changed = answers_of(
            events,
            lot,
            lambda key: fleet.stream(key).labelled.answers,
            key_of=key_of,
            classes_of=lambda key: fleet.stream(key).baseline.classes,
            distance=plan.scene_distance,
            tick=fleet.last_tick,
        )
        for key, found in changed.items():
            labelled = fleet.stream(key).labelled
            before.setdefault(key, labelled.evidence())
            labelled.take(labelled.changed_by(found))
            rows |= {(key, row.image_sha256): row for row in found}
    alarms = [
        alarm
        for key in before
        if answers(key)
        for alarm in judge_labels(
            fleet.stream(key),
            fleet.alarms(key),
            before[key],
            tick=fleet.last_tick,
            at_s=lots[-1].at_s,
        )
    ]
    oldest = {key: seq for key in before if (seq := _let_go(fleet.stream(key).labelled))}
    return Intake(tuple(rows.values()), tuple(before), tuple(alarms), oldest)


def _let_go(labelled: Labelled) -> int:
    """Forget the oldest lots beyond `MOST_ANSWERS`; the audit row from which on they stay, or 0.

    Evidence without its oldest labels is a sum of fewer bets: it keeps the promise.
    """
    if len(labelled.answers) <= MOST_ANSWERS:
        return 0
    first = labelled.answers[-MOST_ANSWERS].seq  # the whole lot of the oldest one that fits
    labelled.take(answer for answer in labelled.answers if answer.seq >= first)
    return first
