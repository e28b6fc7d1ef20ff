"""Every stream with its row and its open alarms: what the evaluator holds in memory.

All of it can be read back from the database at any moment (`load`); nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from redshank.store.monitor import MonitorStore
from redshank.store.monitor_rows import Alarm, StreamKey, StreamRow

from .baseline import Baseline, read_baseline
from .stream import Plan, Stream

OTHER = "other"
"""Domain that takes the events beyond `max_domains` distinct labels."""


class Fleet:
    """Streams by model version and domain."""

    def __init__(self, store: MonitorStore, plan: Plan, bundles: Path) -> None:
        self._store, self._plan, self._bundles = store, plan, bundles
        self._baselines: dict[str, Baseline] = {}
        self.load()

    def load(self) -> None:
        """Take up where the database stands."""
        self.last_tick = self._store.last_tick()
        self.rows: dict[StreamKey, StreamRow] = {}
        self._streams: dict[StreamKey, Stream] = {}
        for row in self._store.streams():
            self.rows[row.key] = row
            self.stream(row.key).remember(row.memory)
        self._domains = {key.domain for key in self._streams}
        self._alarms: dict[StreamKey, dict[str, Alarm]] = {}
        for alarm in self._store.alarms(open_only=True):
            self._alarms.setdefault(alarm.key, {})[alarm.alarm_id] = alarm
        self.has_unsent = bool(self._store.unsent_triggers())

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

    def domain_of(self, label: str) -> str:
        """The label as a domain: `other` when there are too many already."""
        if label not in self._domains:
            if len(self._domains) >= self._plan.max_domains:
                return OTHER
            self._domains.add(label)
        return label

    def forget(self, keys: Iterable[StreamKey]) -> None:
        """Drop streams; labels that no other stream has make room for new domains."""
        for key in keys:
            self.rows.pop(key, None)
            self._streams.pop(key, None)
            self._alarms.pop(key, None)
        self._domains = {key.domain for key in self._streams}

    def _baseline(self, version: str) -> Baseline:
        if version not in self._baselines:
            self._baselines[version] = read_baseline(self._bundles / version)
        return self._baselines[version]
