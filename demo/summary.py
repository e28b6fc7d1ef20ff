"""The figures at the end: printed, and kept in `summary.json` for tests and reports."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from redshank.files import to_json, write_atomic

from .console import percent


@dataclass
class Summary:
    """What one turn of the ring came to; filled step by step."""

    accuracy_by_domain: dict[str, float] = field(default_factory=dict)
    """First model on test images, the unseen `street` included."""
    requests: int = 0
    failed_requests: int = 0
    """Of all requests: field stream, probes during the swap, everything."""
    probes_during_healing: int = 0
    false_alarms: int = 0
    """Alarms `degraded` of sites, or at times, where nothing was harmed."""
    alarm_raised: bool = False
    """Whether the harmed site was called `degraded`."""
    images_until_alarm: int | None = None
    """Images that the harmed site sent between the real onset and the alarm."""
    alarm_reason: str = ""
    accuracy_stream: dict[str, dict[str, float]] = field(default_factory=dict)
    """Accuracy of the answers in the field, by site, before and after the onset."""
    healing_state: str = "none"
    healing_reason: str = ""
    gates: list[dict[str, Any]] = field(default_factory=list)
    promoted: bool = False
    versions_seen: int = 0
    """Bundles that answered: two when the running service swapped."""
    accuracy_before: float | None = None
    """On fresh images of the harmed site: the first model."""
    accuracy_after: float | None = None
    """The model that is live at the end."""
    accuracy_challenger: float | None = None
    """The healed model, also when a gate refused it."""
    seconds: float = 0.0
    seconds_by_step: dict[str, float] = field(default_factory=dict)
    peak_memory_mib: dict[str, float] = field(default_factory=dict)


def write_summary(path: Path, summary: Summary) -> None:
    """Write the figures as JSON."""
    write_atomic(path, to_json(asdict(summary)))


def summary_text(summary: Summary) -> str:
    """The figures for people."""
    lines = [
        ("requests, failed", f"{summary.requests}, {summary.failed_requests}"),
        ("false alarms", str(summary.false_alarms)),
        ("harmed site called degraded", _alarm_text(summary)),
        ("healing", f"{summary.healing_state}: {summary.healing_reason}"),
        ("accuracy on the harmed site", _accuracy_text(summary)),
        ("time", f"{summary.seconds:.0f} s"),
    ]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in lines)


def _alarm_text(summary: Summary) -> str:
    if not summary.alarm_raised:
        return "no"
    return f"after {summary.images_until_alarm} images"


def _accuracy_text(summary: Summary) -> str:
    text = f"{percent(summary.accuracy_before)} before, {percent(summary.accuracy_after)} after"
    if not summary.promoted and summary.accuracy_challenger is not None:
        text += f" (the refused challenger: {percent(summary.accuracy_challenger)})"
    return text
