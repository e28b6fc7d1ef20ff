"""What alarmed streams showed since the onset of their alarm.

Read from the stored windows when an alarm is new, then counted on tick by tick. Nothing of it is
stored: after a restart it is read again, and added in the same order, so that it is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from redshank.store.monitor_rows import Alarm, StreamKey, Window

from .counts import add_cells
from .sample import Sample, empty_sample


class OnsetSamples:
    """One sample a stream with an open alarm."""

    def __init__(self) -> None:
        self._kept: dict[StreamKey, tuple[str, Sample]] = {}

    def take(
        self,
        window: Window,
        alarms: Sequence[Alarm],
        history: Callable[[int], Sequence[Window]],
        *,
        tick_s: float,
    ) -> None:
        """One tick of a stream.

        Args:
            window: of the tick.
            alarms: the stream's alarms that have not ended.
            history: reads the stream's windows from a tick on, the present one included.
            tick_s: length of a tick.
        """
        alarm = leading_alarm(alarms)
        if alarm is None:
            self.forget(window.key)
        elif (sample := self.of(window.key, alarms)) is not None:
            self._kept[window.key] = alarm.alarm_id, _plus(sample, window)
        else:
            sample = empty_sample()
            for earlier in history(math.floor(alarm.onset_s / tick_s + 1e-6)):
                sample = _plus(sample, earlier)
            self._kept[window.key] = alarm.alarm_id, sample

    def of(self, key: StreamKey, alarms: Sequence[Alarm]) -> Sample | None:
        """What a stream showed since the onset of its alarm; None without one, or before a tick."""
        alarm = leading_alarm(alarms)
        kept = self._kept.get(key)
        return kept[1] if alarm and kept and kept[0] == alarm.alarm_id else None

    def forget(self, key: StreamKey) -> None:
        """Drop a stream."""
        self._kept.pop(key, None)


def leading_alarm(alarms: Sequence[Alarm]) -> Alarm | None:
    """The alarm that people are shown: harm before mere change."""
    return min(alarms, key=lambda alarm: alarm.kind != "degraded", default=None)


def _plus(sample: Sample, window: Window) -> Sample:
    return Sample(
        sample.scenes + window.scenes,
        add_cells(sample.cells_CZ, window.cells_CZ),
        sample.novelty_Q + window.novelty_Q,
    )
