"""The evaluator: the one process that turns events into windows, states, alarms and triggers.

`pass_once` reads top to bottom: drain what is closed, one tick after the other; for each stream
count, update, judge, decide; commit everything of a tick at once; then deliver triggers. What an
operator decided, and what somebody labelled, is applied after the tick in which it was said.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redshank.errors import RedshankError
from redshank.events import Event, spool_files
from redshank.files import Clock
from redshank.records import as_dict
from redshank.store.control_labels import LabelsGiven
from redshank.store.monitor import Cursor, MonitorStore, TickWrite
from redshank.store.monitor_days import fold_days
from redshank.store.monitor_rows import Alarm, ReferenceRow, StreamKey, StreamRow, Window

from .alarms import close, judge
from .counts import TickCounts, count_tick
from .drain import Calendar, open_readers, take_tick
from .fleet import Fleet, check_tick_length
from .label_intake import take_labels
from .operator_changes import apply_request
from .operators import RetireRequest
from .retention import tidy_up
from .stream import Plan
from .surroundings import Said, Surroundings, labels_of_a_tick, said_since
from .triggers import deliver, trigger_of
from .verdict import answering_rows, decide


@dataclass(frozen=True)
class Pass:
    """What one pass did."""

    ticks: int
    events: int
    seconds: float
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Advance:
    """What one tick changed in one stream."""

    window: Window
    row: StreamRow
    reference: ReferenceRow | None
    alarms: tuple[Alarm, ...]


class Evaluator:
    """Holds the fleet in memory; the database is always one tick behind or equal, never ahead."""

    def __init__(
        self, store: MonitorStore, plan: Plan, around: Surroundings, *, clock: Clock = time.time
    ) -> None:
        self.store, self.plan, self.around, self.clock = store, plan, around, clock
        self._answering: dict[str, frozenset[str] | None] = {}  # asked once a pass
        check_tick_length(store, plan)
        self._fleet = Fleet(store, plan, around.bundles)
        self._cursors = store.cursors()
        self._is_torn = False

    def pass_once(self, stop: Callable[[], bool] = lambda: False) -> Pass:
        """Evaluate every closed tick that has events, and deliver triggers.

        Args:
            stop: asked between ticks; when it says True the rest waits for the next pass.
        """
        started, ticks, events = time.perf_counter(), 0, 0
        self._answering.clear()
        self._recover()
        self._forget_deleted_spools()
        readers = open_readers(self.around.spool, self._cursors)
        said, waits = said_since(self.around, self.store)
        now_tick = math.floor((self.clock() - self.around.grace_s) / self.plan.tick_s)
        while not stop():
            calendar = Calendar(self.plan.tick_s, now_tick, self._fleet.last_tick)
            end = calendar.open_tick
            asked = calendar.tick_at(said[0].at_s) if said else end
            found = take_tick(readers, calendar, before_tick=min(asked + 1, end))
            if found is not None:
                self._evaluate(*found)
                ticks, events = ticks + 1, events + len(found[1])
            elif asked < end:
                self._apply(said, calendar)
            else:
                break
        self._close_replaced()
        tidy_up(self.store, self._fleet, plan=self.plan, named=self.around.named)
        waits += tuple(reader.problem for reader in readers if reader.problem)
        waits += self.around.unread_releases()
        return Pass(ticks, events, time.perf_counter() - started, waits + self._deliver())

    def answering_rows(self) -> tuple[StreamRow, ...]:
        """Where each domain stands under a version that answers it, else under its newest one."""
        return answering_rows(self._fleet.rows.values(), self._answers)

    @property
    def open_alarms(self) -> tuple[Alarm, ...]:
        """Alarms that have not ended."""
        return self._fleet.open_alarms

    def _evaluate(self, tick: int, events: list[Event], cursors: dict[str, Cursor]) -> None:
        self._is_torn = True
        groups, gone = self._fleet.sort(events)
        taken = [self._take(key, tick, rows) for key, rows in groups.items()]
        self._fleet.agree(self._answers)
        done = [self._judge(*each) for each in taken]
        self._commit(
            TickWrite(
                tick=tick,
                gone=gone,
                cursors=cursors,
                windows=tuple(d.window for d in done),
                streams=tuple(d.row for d in done),
                references=tuple(d.reference for d in done if d.reference is not None),
                alarms=tuple(alarm for d in done for alarm in d.alarms),
            )
        )
        self._cursors |= cursors

    def _commit(self, change: TickWrite) -> None:
        """Write what memory holds already; until that is done it is ahead, and not to be used."""
        self.store.commit(change)
        self._fleet.last_tick = change.tick
        self._is_torn = False

    def _recover(self) -> None:
        """After a transaction that did not happen, neither did what memory holds."""
        if self._is_torn:
            self._fleet.load()
            self._cursors = self.store.cursors()
            self._is_torn = False

    def _take(
        self, key: StreamKey, tick: int, events: list[Event]
    ) -> tuple[StreamKey, TickCounts, ReferenceRow | None]:
        """Count the tick of one stream and let its detectors bet."""
        stream = self._fleet.stream(key)
        counts = count_tick(
            tick,
            events,
            stream.open_scenes,
            stream.seen,
            num_classes=len(stream.baseline.classes),
            gap_s=self.plan.scene_gap_s,
            distance=self.plan.scene_distance,
        )
        return key, counts, stream.advance(counts)

    def _judge(
        self, key: StreamKey, counts: TickCounts, reference: ReferenceRow | None
    ) -> _Advance:
        """Raise and end alarms, and say where the stream stands."""
        stream = self._fleet.stream(key)
        window = stream.window(counts)
        changed, history = [], self._history(key, window)
        if self._answers(key):
            for alarm in judge(stream, window, self._fleet.alarms(key), history):
                changed.append(self._with_trigger(alarm))
        self._fleet.note(changed)
        alarms = self._fleet.alarms(key)
        self._fleet.since_onset.take(window, alarms, history, tick_s=self.plan.tick_s)
        row = self._row(key, alarms)
        return _Advance(
            dataclasses.replace(window, state=row.state), row, reference, tuple(changed)
        )

    def _row(self, key: StreamKey, alarms: Sequence[Alarm]) -> StreamRow:
        """The stream's row as it stands now."""
        stream, since_onset = self._fleet.stream(key), self._fleet.since_onset.of(key, alarms)
        answers, known = self._answers(key), self._fleet.known
        verdict = decide(stream, alarms, answers=answers, known=known, since_onset=since_onset)
        row = StreamRow(
            key=key,
            last_tick=stream.last_tick,
            last_event_s=stream.last_event_s,
            state=verdict.state,
            sentence=verdict.sentence,
            detail=verdict.detail,
            memory=stream.memory(),
        )
        self._fleet.rows[key] = row
        return row

    def _apply(self, said: deque[Said], calendar: Calendar) -> None:
        """What was said first, and with labels all that follow them in the same tick."""
        if isinstance(first := said[0], LabelsGiven):
            self._take_labels(labels_of_a_tick(said, calendar))
            return
        said.popleft()
        self._is_torn = True
        if isinstance(first, RetireRequest):  # it keeps its days, also where nothing came since
            self._fleet.last_tick = max(self._fleet.last_tick, calendar.tick_at(first.at_s))
            fold_days(self.store.engine, tick=self._fleet.last_tick, tick_s=self.plan.tick_s)
        self._commit(apply_request(self._fleet, first, self._row))

    def _take_labels(self, lots: Sequence[LabelsGiven]) -> None:
        """Count what was labelled, and raise or end the alarms that it is about."""
        self._is_torn = True
        around, tick = self.around, self._fleet.last_tick
        intake = take_labels(
            self._fleet, lots, spool=around.spool, plan=self.plan, answers=self._answers
        )
        changed = [self._with_trigger(alarm) for alarm in intake.alarms]
        self._fleet.note(changed)
        self._commit(
            TickWrite(
                tick=tick,
                streams=tuple(self._row(key, self._fleet.alarms(key)) for key in intake.keys),
                alarms=tuple(changed),
                labelled=intake.rows,
                labelled_from=intake.oldest,
                labels_seq=lots[-1].seq,
            )
        )

    def _history(self, key: StreamKey, window: Window) -> Callable[[int], tuple[Window, ...]]:
        def since(tick: int) -> tuple[Window, ...]:
            stored = self.store.windows(**key._asdict(), from_tick=tick)
            return (*stored, window)

        return since

    def _with_trigger(self, alarm: Alarm) -> Alarm:
        """The alarm with its trigger, when it is a new reason to retrain."""
        trigger = trigger_of(alarm) if self.around.send is not None else None
        return alarm if trigger is None else dataclasses.replace(alarm, trigger=as_dict(trigger))

    def _deliver(self) -> tuple[str, ...]:
        """Bring triggers to the control database; twice is once, by their idempotency key."""
        if self.around.send is None or not self._fleet.has_unsent:
            return ()
        for alarm in self.store.unsent_triggers():
            try:
                deliver(alarm, self.around.send, self.around.withdraw)
            except RedshankError as error:
                return (f"trigger of alarm {alarm.alarm_id} waits: {error.message}",)
            self.store.mark_sent(alarm.alarm_id)
            self._fleet.note([dataclasses.replace(alarm, trigger_sent=True)])
        self._fleet.has_unsent = False
        return ()

    def _close_replaced(self) -> None:
        """End alarms of versions that no longer answer."""
        gone = [alarm for alarm in self.open_alarms if not self._answers(alarm.key)]
        if not gone:
            return
        self._is_torn = True
        now = self.clock()
        closed = [close(a, at_s=now, reason="another version answers now") for a in gone]
        self._fleet.note(closed)
        rows = tuple(self._row(key, ()) for key in {alarm.key: None for alarm in gone})
        self._commit(TickWrite(tick=self._fleet.last_tick, streams=rows, alarms=tuple(closed)))

    def _answers(self, key: StreamKey) -> bool:
        if key.model not in self._answering:
            self._answering[key.model] = self.around.answering(key.model)
        versions = self._answering[key.model]
        return versions is None or key.version in versions

    def _forget_deleted_spools(self) -> None:
        if not self.around.spool.is_dir():
            return  # out of reach for the moment, or no server has started: nothing was deleted
        present = {path.name for path in spool_files(self.around.spool)}
        gone = [name for name in self._cursors if name not in present]
        if gone:
            self.store.forget_spools(gone)
            self._cursors = {n: c for n, c in self._cursors.items() if n in present}
