"""Every stream with its row and its open alarms: what the evaluator holds in memory.

All of it can be read back from the database at any moment (`load`); nothing here writes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

from redshank.errors import ConfigError
from redshank.events import Event
from redshank.store.monitor import MonitorStore
from redshank.store.monitor_labelled import labelled_answers
from redshank.store.monitor_rows import Acceptance, Alarm, LabelledAnswer, StreamKey, StreamRow

from .baseline import Baseline, read_baseline
from .counts import by_stream
from .names import Names, Standing
from .nearest import Known, known_domains
from .onset_samples import OnsetSamples
from .portfolio import strictness
from .stream import Plan, Stream


class Fleet:
    """Streams by model version and domain."""

    def __init__(self, store: MonitorStore, plan: Plan, bundles: Path) -> None:
        self._store, self._plan, self._bundles = store, plan, bundles
        self._baselines: dict[str, Baseline] = {}
        self.load()

    def load(self) -> None:
        """Take up where the database stands."""
        self.last_tick = self._store.last_tick()
        self._day = -1
        self.rows: dict[StreamKey, StreamRow] = {}
        self._streams: dict[StreamKey, Stream] = {}
        for row in self._store.streams():
            self.rows[row.key] = row
            self.stream(row.key).remember(row.memory)
        for key, answers in labels_in_force(self._store).items():
            if key in self.rows:
                self.stream(key).labelled.take(answers)
        self._domains = {key.domain for key in self._streams}
        self._known: dict[tuple[str, str], Known] = {}  # as of this tick
        self.since_onset = OnsetSamples()
        self._alarms: dict[StreamKey, dict[str, Alarm]] = {}
        for alarm in self._store.alarms(open_only=True):
            self._alarms.setdefault(alarm.key, {})[alarm.alarm_id] = alarm
        self.has_unsent = bool(self._store.unsent_triggers())

    def is_new_day(self, tick_s: float) -> bool:
        """Whether the newest tick lies in another day (UTC) than when this was asked last."""
        day, before = int(self.last_tick * tick_s // 86_400), self._day
        self._day = day
        return day != before

    def stream(self, key: StreamKey) -> Stream:
        """The stream of a key, a new one when it was never seen."""
        if key not in self._streams:
            self._streams[key] = Stream(key, self._baseline(key.version), self._plan)
        return self._streams[key]

    def alarms(self, key: StreamKey) -> tuple[Alarm, ...]:
        """Alarms of a stream that have not ended."""
        return tuple(self._alarms.get(key, {}).values())

    @property
    def open_alarms(self) -> tuple[Alarm, ...]:
        """Alarms that have not ended."""
        return tuple(alarm for alarms in self._alarms.values() for alarm in alarms.values())

    def note(self, changed: Iterable[Alarm]) -> None:
        """Remember new and changed alarms."""
        for alarm in changed:
            known = self._alarms.setdefault(alarm.key, {})
            known[alarm.alarm_id] = alarm
            if alarm.closed_s is not None:
                del known[alarm.alarm_id]
            self.has_unsent |= alarm.trigger is not None and not alarm.trigger_sent

    def sort(
        self, events: Iterable[Event]
    ) -> tuple[dict[StreamKey, list[Event]], tuple[StreamKey, ...]]:
        """Events by stream, and the streams that gave way to new names (already forgotten)."""
        events = list(events)
        self._known.clear()
        if {event.domain for event in events} <= self._domains:
            return by_stream(events, lambda event: event.domain), ()
        names = Names(self._standings(), most=self._plan.max_domains)
        groups = by_stream(events, lambda event: names.domain_of(event.domain))
        given_up = set(names.given_up)
        gone = tuple(key for key in self._streams if key.domain in given_up)
        self.forget(gone)
        self._domains |= {key.domain for key in groups}
        return groups, gone

    def agree(self, answers: Callable[[StreamKey], bool]) -> None:
        """Let all detectors ask for as much evidence as the promise of the whole fleet needs."""
        if self._plan.promise == "domain":
            return
        watched = [stream for key, stream in self._streams.items() if answers(key)]
        needed = strictness(_surplus(stream) for stream in watched)
        for stream in watched:
            stream.labelled.strictness = needed
            for detection in stream.detections:
                detection.ask_for_more(needed)

    def known(self, key: StreamKey) -> Known:
        """What a site that is learning may resemble: source domains, and sites that have learnt."""
        version = key[:2]
        if version not in self._known:
            sources = self._baseline(key.version).sources
            named = {f"source domain {name}": bins_Z for name, bins_Z in sources.items()}
            for other, stream in self._streams.items():
                if other[:2] == version and stream.relative is not None:
                    named[f"site {other.domain}"] = stream.burn_in.cells_CZ.sum(axis=0)
            self._known[version] = known_domains(named)
        return self._known[version]

    def forget(self, keys: Iterable[StreamKey]) -> None:
        """Drop streams; labels that no other stream has make room for new domains."""
        for key in keys:
            self.rows.pop(key, None)
            self._streams.pop(key, None)
            self._alarms.pop(key, None)
            self.since_onset.forget(key)
        self._known.clear()
        self._domains = {key.domain for key in self._streams}

    def _standings(self) -> dict[str, Standing]:
        found: dict[str, Standing] = {}
        for key, stream in self._streams.items():
            scenes, tick = found.get(key.domain, (0, -1))
            standing = Standing(max(scenes, stream.totals.scenes), max(tick, stream.last_tick))
            found[key.domain] = standing
        return found

    def _baseline(self, version: str) -> Baseline:
        if version not in self._baselines:
            self._baselines[version] = read_baseline(self._bundles / version, self._plan.precision)
        return self._baselines[version]


def _surplus(stream: Stream) -> float:
    """log10 of evidence over the domain's own threshold; each reference has its share of alpha."""
    found = [(d.evidence(), d.strictness) for d in stream.detections]
    return max((e.total - (e.threshold - extra) for e, extra in found), default=-math.inf)


def labels_in_force(store: MonitorStore) -> dict[StreamKey, tuple[LabelledAnswer, ...]]:
    """Labelled answers by stream, without those from before an operator's acceptance."""
    accepted: dict[StreamKey, Acceptance] = {row.key: row for row in store.acceptances()}
    return {
        key: tuple(a for a in answers if key not in accepted or a.seq > accepted[key].seq)
        for key, answers in labelled_answers(store.engine).items()
    }


def check_tick_length(store: MonitorStore, plan: Plan) -> None:
    """Remember the tick length of a new database; refuse another one.

    Raises:
        ConfigError: the settings say another.
    """
    known = store.meta("tick_s")
    if known is None:
        store.set_meta("tick_s", repr(plan.tick_s))
    elif float(known) != plan.tick_s:
        raise ConfigError(
            f"the monitor database counts ticks of {known} s, the settings say {plan.tick_s} s",
            hint="Set monitoring.tick_s back, or move the database away to begin anew.",
        )
