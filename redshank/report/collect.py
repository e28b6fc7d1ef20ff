"""Everything that a report shows, read from the home folder and its two databases.

Whatever is not there yet is left out: a report of training alone is a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redshank.errors import RedshankError
from redshank.files import read_json
from redshank.healing import AuditRow, Healing
from redshank.registry import Registry, Release
from redshank.run import HistoryRow, Run, read_history, read_run
from redshank.settings import Home
from redshank.store.control import open_control
from redshank.store.monitor import open_monitor
from redshank.store.monitor_rows import Alarm, StreamRow, Window
from redshank.trigger import Trigger


@dataclass(frozen=True)
class RunStory:
    """One training with its curves."""

    folder: Path
    run: Run
    history: tuple[HistoryRow, ...]


@dataclass(frozen=True)
class Story:
    """What happened in one home folder, oldest first everywhere."""

    home: Path
    runs: tuple[RunStory, ...]
    releases: tuple[Release, ...]
    streams: tuple[StreamRow, ...]
    windows: tuple[Window, ...]
    alarms: tuple[Alarm, ...]
    triggers: tuple[Trigger, ...]
    healings: tuple[Healing, ...]
    audit: tuple[AuditRow, ...]
    summary: dict[str, Any]
    """Figures that somebody measured with labels, like the demo; may be empty."""
    notes: tuple[str, ...]
    """What could not be read, and why."""


def collect(home: Home, *, model: str, summary_file: Path | None = None) -> Story:
    """Read a home folder.

    Args:
        home: where redshank keeps what it makes.
        model: name of the released model.
        summary_file: JSON object with further figures; None for none.

    Raises:
        InputError: `summary_file` cannot be read.
    """
    notes: list[str] = []
    streams, windows, alarms = _monitor(home, model, notes)
    triggers, healings, audit = _control(home, notes)
    summary = read_json(summary_file) if summary_file else {}
    return Story(
        home=Path(home.root),
        runs=_runs(home.path("runs"), notes),
        releases=_releases(home, model),
        streams=streams,
        windows=windows,
        alarms=alarms,
        triggers=triggers,
        healings=healings,
        audit=audit,
        summary=summary if isinstance(summary, dict) else {},
        notes=tuple(notes),
    )


def _runs(folder: Path, notes: list[str]) -> tuple[RunStory, ...]:
    stories = []
    for path in sorted(folder.glob("*/run.json")):
        try:
            run = read_run(path.parent, verify=False)
            stories.append(RunStory(path.parent, run, read_history(path.parent)))
        except RedshankError as error:
            notes.append(f"run {path.parent.name}: {error.message}")
    return tuple(stories)


def _releases(home: Home, model: str) -> tuple[Release, ...]:
    registry = Registry(home.path("models"), home.path("bundles"))
    return registry.history(model) if model in registry.names() else ()


def _monitor(
    home: Home, model: str, notes: list[str]
) -> tuple[tuple[StreamRow, ...], tuple[Window, ...], tuple[Alarm, ...]]:
    if not home.monitor_url and not home.path("monitor.db").is_file():
        return (), (), ()
    try:
        store = open_monitor(home.monitor_database, create=False)
        streams: Sequence[StreamRow] = store.streams()
        alarms: Sequence[Alarm] = store.alarms()
        windows = store.windows(model=model)
    except RedshankError as error:
        notes.append(f"monitor: {error.message}")
        return (), (), ()
    store.engine.dispose()
    return (
        tuple(stream for stream in streams if stream.key.model == model),
        windows,
        tuple(alarm for alarm in alarms if alarm.key.model == model),
    )


def _control(
    home: Home, notes: list[str]
) -> tuple[tuple[Trigger, ...], tuple[Healing, ...], tuple[AuditRow, ...]]:
    if not home.control_url and not home.path("control.db").is_file():
        return (), (), ()
    try:
        store = open_control(home.control_database)
    except RedshankError as error:
        notes.append(f"control: {error.message}")
        return (), (), ()
    try:
        return store.triggers(), store.healings(), store.audit()
    except RedshankError as error:
        notes.append(f"control: {error.message}")
        return (), (), ()
    finally:
        store.close()
