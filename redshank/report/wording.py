"""Figures of a summary in words: names without underscores, units, nothing that is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORDS = {
    "accuracy_before": "accuracy before healing",
    "accuracy_after": "accuracy of the model that is live now",
    "accuracy_challenger": "accuracy of the healed model",
    "requests": "requests sent",
    "failed_requests": "requests that failed",
    "probes_during_healing": "requests sent while the model was healed",
    "false_alarms": "false alarms",
    "alarm_raised": "alarm raised",
    "images_until_alarm": "images from the change to the alarm",
    "alarm_reason": "why the alarm was raised",
    "healing_state": "how the healing ended",
    "healing_reason": "why it ended so",
    "promoted": "healed model released",
    "versions_seen": "models that answered",
    "seconds": "time of the whole run",
}
"""Names of the demo's figures; any other name is shown with spaces."""


def summary_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each single figure, both for people.

    Lists and tables stay out, and so does what nobody knows yet: nulls, empty texts, a time of 0 s.
    """
    rows = []
    for key, value in summary.items():
        if value is None or value == "" or isinstance(value, (list, dict)):
            continue
        if key == "seconds" and not value:
            continue
        rows.append((WORDS.get(key, words(key)), _shown(key, value)))
    return rows


def words(name: str) -> str:
    """`cannot_tell` as `cannot tell`."""
    return name.replace("_", " ")


def _shown(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)) and key.startswith("accuracy"):
        return f"{value:.1%}"
    if isinstance(value, (int, float)) and key.startswith("seconds"):
        return f"{value:,.0f} s"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return words(value) if key.endswith("_state") else str(value)
