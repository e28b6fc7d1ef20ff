from __future__ import annotations

from typing import Any

import pytest

from monitoring.console.fleet import promise_in_words
from redshank.settings import MonitoringSettings


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "for each domain at most a chance of 5 % of a false alarm in 30 days"),
        ({"promise": "fleet", "false_alarms": 0.005, "period_ticks": 288},
         "at most a chance of 0.5 % of any false alarm in 1 day, over all domains"),
    ],
)  # fmt: skip
def test_the_promise_is_what_the_settings_say(changes: dict[str, Any], words: str) -> None:
    assert promise_in_words(MonitoringSettings(**changes)) == words
