"""An alarm of nothing in particular, with changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from redshank.store.monitor_rows import Alarm, Evidence, StreamKey

PLAIN = Alarm(
    alarm_id="1-aaaa",
    key=StreamKey("default", "b1", "pier"),
    kind="degraded",
    cause="look",
    reference="relative",
    onset_s=100.0,
    raised_tick=3,
    raised_s=130.0,
    evidence=Evidence(5.0, 5.0, 4.0),
    images_since_onset=30,
    scenes_since_onset=30,
    sentence="It got worse.",
    trigger=None,
)


def make_alarm(**changes: Any) -> Alarm:
    """`PLAIN` with changes."""
    return replace(PLAIN, **changes)
