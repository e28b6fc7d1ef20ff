"""The evaluator: the one process that turns events into windows, states, alarms and triggers.

`pass_once` reads top to bottom: drain what is closed, one tick after the other; for each stream
count, update, judge, decide; commit everything of a tick at once; then deliver triggers.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from redshank.cells import mean_confidence
from redshank.errors import ConfigError, RedshankError
from redshank.events import Event, spool_files
from redshank.files import Clock
from redshank.records import as_dict, from_dict
from redshank.store.monitor import Cursor, MonitorStore, TickWrite
from redshank.store.monitor_rows import Alarm, ReferenceRow, StreamKey, StreamRow, Window
from redshank.trigger import Trigger

from .alarms import close, judge
from .baseline import Baseline, read_baseline
from .counts import TickCounts, by_stream, count_tick
from .drain import open_readers, take_tick
from .stream import Plan, Stream
from .triggers import trigger_of
from .verdict import answering_rows, decide

OTHER = "other"
"""Domain that takes the events beyond `max_domains` distinct labels."""


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
    """Holds the streams in memory; the database is always one tick behind or equal, never ahead."""

    def __init__(
        self, store: MonitorStore, plan: Plan, around: Surroundings, *, clock: Clock = time.time
    ) -> None:
        self.store, self.plan, self.around, self.clock = store, plan, around, clock
        self._baselines: dict[str, Baseline] = {}
        self._answering: dict[str, frozenset[str] | None] = {}  # asked once a pass
        self._cursors: dict[str, Cursor] = {}
        self._undelivered = False
        _check_tick_length(store, plan)
        self._load()

    def pass_once(self, stop: Callable[[], bool] = lambda: False) -> Pass:
        """Evaluate every closed tick that has events, and deliver triggers.

        Args:
            stop: asked between ticks; when it says True the rest waits for the next pass.
        """
        started, ticks, events = time.perf_counter(), 0, 0
        open_tick = math.floor((self.clock() - self.around.grace_s) / self.plan.tick_s)
        self._answering.clear()
        self._forget_deleted_spools()
        readers = open_readers(
            self.around.spool,
            self._cursors,
            tick_s=self.plan.tick_s,
            last_tick=self.store.last_tick(),
        )
        while not stop() and (found := take_tick(readers, before_tick=open_tick)) is not None:
            tick, rows, cursors = found
            try:
                self._evaluate(tick, rows, cursors)
            except BaseException:
                self._load()  # the transaction did not happen: neither did the tick
                raise
            ticks, events = ticks + 1, events + len(rows)
        self._close_replaced()
        problems = self._deliver()
        return Pass(ticks, events, time.perf_counter() - started, problems)

    def _evaluate(self, tick: int, events: list[Event], cursors: dict[str, Cursor]) -> None:
        groups = by_stream(events, self._domain_of)
        done = [self._advance(key, tick, rows) for key, rows in groups.items()]
        self.store.commit(
            TickWrite(
                tick=tick,
                cursors=cursors,
                windows=tuple(d.window for d in done),
                streams=tuple(d.row for d in done),
                references=tuple(d.reference for d in done if d.reference is not None),
                alarms=tuple(alarm for d in done for alarm in d.alarms),
            )
        )
        self._cursors |= cursors

    def _advance(self, key: StreamKey, tick: int, events: list[Event]) -> _Advance:
        stream = self._stream(key)
        counts = count_tick(
            tick,
            events,
            stream.open_scenes,
            num_classes=len(stream.baseline.classes),
            gap_s=self.plan.scene_gap_s,
            distance=self.plan.scene_distance,
        )
        reference = stream.advance(counts)
        window = _window(stream, counts, self.plan.tick_s)
        open_alarms = self._open_alarms.get(key, [])
        changed: list[Alarm] = []
        if self._answers(key):
            for alarm in judge(stream, window, open_alarms, self._history(key, window)):
                changed.append(self._with_trigger(alarm))
        self._remember_alarms(key, changed)
        verdict = decide(stream, self._open_alarms.get(key, []), answers=self._answers(key))
        window = dataclasses.replace(window, state=verdict.state)
        row = StreamRow(
            key=key,
            last_tick=tick,
            last_event_s=counts.last_event_s,
            state=verdict.state,
            sentence=verdict.sentence,
            detail=verdict.detail,
            memory=stream.memory(),
        )
        self._rows[key] = row
        return _Advance(window, row, reference, tuple(changed))

    def answering_rows(self) -> tuple[StreamRow, ...]:
        """Where each domain stands under a version that answers it, else under its newest one."""
        return answering_rows(self._rows.values(), self._answers)

    @property
    def open_alarms(self) -> tuple[Alarm, ...]:
        """Alarms that have not ended."""
        return tuple(a for alarms in self._open_alarms.values() for a in alarms)

    def _stream(self, key: StreamKey) -> Stream:
        if key not in self._streams:
            self._streams[key] = Stream(key, self._baseline(key.version), self.plan)
        return self._streams[key]

    def _baseline(self, version: str) -> Baseline:
        if version not in self._baselines:
            self._baselines[version] = read_baseline(self.around.bundles / version)
        return self._baselines[version]

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
        if self.around.send is None or not self._undelivered:
            return ()
        for alarm in self.store.unsent_triggers():
            try:
                self.around.send(from_dict(Trigger, alarm.trigger, source=alarm.alarm_id))
            except RedshankError as error:
                return (f"trigger of alarm {alarm.alarm_id} waits: {error.message}",)
            self.store.mark_sent(alarm.alarm_id)
            self._remember_alarms(alarm.key, [dataclasses.replace(alarm, trigger_sent=True)])
        self._undelivered = False
        return ()

    def _close_replaced(self) -> None:
        """End alarms of versions that no longer answer."""
        gone = [alarm for alarm in self.open_alarms if not self._answers(alarm.key)]
        if not gone:
            return
        now = self.clock()
        closed = [close(a, at_s=now, reason="another version answers now") for a in gone]
        rows = []
        for alarm in closed:
            self._remember_alarms(alarm.key, [alarm])
            verdict = decide(self._stream(alarm.key), (), answers=False)
            row = dataclasses.replace(
                self._rows[alarm.key],
                state=verdict.state,
                sentence=verdict.sentence,
                detail=verdict.detail,
            )
            self._rows[alarm.key] = row
            rows.append(row)
        last = self.store.last_tick()
        self.store.commit(TickWrite(tick=last, streams=tuple(rows), alarms=tuple(closed)))

    def _answers(self, key: StreamKey) -> bool:
        if key.model not in self._answering:
            self._answering[key.model] = self.around.answering(key.model)
        versions = self._answering[key.model]
        return versions is None or key.version in versions

    def _remember_alarms(self, key: StreamKey, changed: list[Alarm]) -> None:
        known = {alarm.alarm_id: alarm for alarm in self._open_alarms.get(key, [])}
        known |= {alarm.alarm_id: alarm for alarm in changed}
        self._open_alarms[key] = [a for a in known.values() if a.closed_s is None]
        self._undelivered |= any(a.trigger is not None and not a.trigger_sent for a in changed)

    def _domain_of(self, event: Event) -> str:
        if event.domain not in self._domains:
            if len(self._domains) >= self.plan.max_domains:
                return OTHER
            self._domains.add(event.domain)
        return event.domain

    def _forget_deleted_spools(self) -> None:
        present = {path.name for path in spool_files(self.around.spool)}
        gone = [name for name in self._cursors if name not in present]
        if gone:
            self.store.forget_spools(gone)
            self._cursors = {n: c for n, c in self._cursors.items() if n in present}

    def _load(self) -> None:
        """Take up where the database stands."""
        self._cursors = self.store.cursors()
        self._rows: dict[StreamKey, StreamRow] = {}
        self._streams: dict[StreamKey, Stream] = {}
        for row in self.store.streams():
            self._rows[row.key] = row
            self._stream(row.key).remember(row.memory)
        self._domains = {key.domain for key in self._streams}
        self._open_alarms: dict[StreamKey, list[Alarm]] = {}
        for alarm in self.store.alarms(open_only=True):
            self._open_alarms.setdefault(alarm.key, []).append(alarm)
        self._undelivered = bool(self.store.unsent_triggers())


def _window(stream: Stream, counts: TickCounts, tick_s: float) -> Window:
    mean = mean_confidence(counts.cells_CZ)
    return Window(
        key=stream.key,
        tick=counts.tick,
        at_s=(counts.tick + 1) * tick_s,
        events=counts.events,
        errors=counts.errors,
        scenes=counts.scenes,
        cells_CZ=counts.cells_CZ,
        novelty_Q=counts.novelty_Q,
        mean_confidence=None if math.isnan(mean) else mean,
        absolute=stream.absolute.evidence() if stream.absolute else None,
        relative=stream.relative.evidence() if stream.relative else None,
        state="learning",
    )


def _check_tick_length(store: MonitorStore, plan: Plan) -> None:
    known = store.meta("tick_s")
    if known is None:
        store.set_meta("tick_s", repr(plan.tick_s))
    elif float(known) != plan.tick_s:
        raise ConfigError(
            f"the monitor database counts ticks of {known} s, the settings say {plan.tick_s} s",
            hint="Set monitoring.tick_s back, or move the database away to begin anew.",
        )
