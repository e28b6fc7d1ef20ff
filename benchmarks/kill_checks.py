"""What was promised against what is on disk after the attack."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from redshank.bundle import read_bundle
from redshank.dataset import read_manifest
from redshank.errors import RedshankError
from redshank.events import Event, iter_spool, spool_files
from redshank.fieldstore import FieldStore
from redshank.files import parse_rfc3339
from redshank.healing import ENDS
from redshank.registry import Registry, Release
from redshank.run import read_run
from redshank.store.control import ControlStore, open_control
from redshank.store.monitor import MonitorStore, open_monitor

from .kill_accounts import count_mislabelled, find_lost, outages, sort_failures, twice
from .kill_processes import KINDS, TITLES, Kill
from .kill_traffic import Reply
from .kill_watcher import verify_folder, visible
from .kill_world import FLUSH_S


@dataclass(frozen=True)
class Observed:
    """What was seen while the ring was under fire."""

    replies: tuple[Reply, ...]
    kills: tuple[Kill, ...]
    starts: dict[str, int]
    ready_samples: tuple[tuple[float, bool], ...]
    samples: int
    verified: int
    problems: tuple[str, ...]
    left: tuple[str, ...]
    replay: str
    """Last line of `redshank watch replay`, which rebuilds every detector from the windows."""

    def killed_s(self, kind: str) -> list[float]:
        """When processes of a kind were killed."""
        return [kill.at_s for kill in self.kills if kill.kind == kind]


@dataclass(frozen=True)
class Finding:
    """One row of the table."""

    name: str
    value: str
    ok: bool | None = None
    """None: a figure that promises nothing."""


def check_everything(home: Path, model: str, observed: Observed) -> list[Finding]:
    """All rows, in the same order for every run."""
    registry = Registry(home / "models", home / "bundles")
    control = open_control(f"sqlite:///{home / 'control.db'}")
    monitor = open_monitor(home / "monitor.db", create=False)
    events = list(iter_spool(home / "spool"))
    history = registry.history(model)
    return [
        *_kills(observed),
        *_requests(observed, history),
        *_events(observed, events, monitor),
        *_release(observed, registry, control, history),
        *_folders(home),
        *_healings(home, control, monitor),
        *_databases(home),
        Finding("processes left after SIGTERM", str(len(observed.left)), not observed.left),
    ]


def _kills(observed: Observed) -> Iterator[Finding]:
    counts = Counter(kill.kind for kill in observed.kills)
    for kind in KINDS:
        yield Finding(f"SIGKILL: {TITLES[kind]}", str(counts[kind]))
    busy = sum(kill.healing not in {*ENDS, "no healing yet"} for kill in observed.kills)
    yield Finding("kills while a healing was under way", f"{busy} of {len(observed.kills)}")


def _requests(observed: Observed, history: tuple[Release, ...]) -> Iterator[Finding]:
    replies = observed.replies
    yield Finding("requests, answered", f"{len(replies)}, {sum(reply.ok for reply in replies)}")
    down = outages(observed.killed_s("server"), observed.ready_samples)
    workers = observed.killed_s("worker")
    failures = sort_failures(replies, down=down, worker_kills_s=workers)
    seconds = ", ".join(f"{end - begin:.1f}" for begin, end in down) or "-"
    yield Finding("server away after its supervisor's death, s", seconds)
    yield Finding("failed requests meanwhile", str(failures.server))
    clients = len({reply.domain for reply in replies})
    yield Finding(
        f"failed in the second after a worker's death (at most {clients} each)",
        str(failures.worker),
        failures.worker <= clients * len(workers),
    )
    yield Finding("failed at any other moment", str(failures.other), failures.other == 0)
    live_since = {r.live: parse_rfc3339(r.updated_at) for r in reversed(history)}
    wrong = count_mislabelled(replies, live_since)
    yield Finding("answers naming a version that was not live", str(wrong), wrong == 0)


def _events(observed: Observed, events: list[Event], monitor: MonitorStore) -> Iterator[Finding]:
    recorded = {event.sequence_id for event in events}
    lost = find_lost(
        observed.replies,
        recorded,
        worker_kills_s=observed.killed_s("worker"),
        flush_s=FLUSH_S,
    )
    yield Finding(
        f"answers whose event died in a killed worker's memory (flush {FLUSH_S:g} s)",
        f"{lost.in_flush}" + (f", oldest {lost.oldest_s:.2f} s" if lost.in_flush else ""),
    )
    yield Finding("answers whose event is lost otherwise", str(lost.other), lost.other == 0)
    doubled = twice(event.sequence_id for event in events)
    yield Finding("events twice in the spools", str(doubled), doubled == 0)
    stored = Counter((event.model, event.version, event.domain) for event in events)
    counted: Counter[tuple[str, str, str]] = Counter()
    for window in monitor.windows():
        counted[window.key.model, window.key.version, window.key.domain] += window.events
    yield Finding(
        "events in the spools, counted by the evaluator",
        f"{len(events)}, {counted.total()}",
        stored == counted,
    )
    yield Finding(
        "detector states rebuilt from windows",
        observed.replay,
        observed.replay.endswith(" 0 differ"),
    )


def _release(
    observed: Observed, registry: Registry, control: ControlStore, history: tuple[Release, ...]
) -> Iterator[Finding]:
    yield Finding(
        "looks at release, runs and bundles; digests checked; problems",
        f"{observed.samples}; {observed.verified}; {len(observed.problems)}",
        not observed.problems,
    )
    released = [release.live for release in history[1:]]
    healed = [h.challenger or "" for h in control.healings("live", "rolled_back")]
    revisions = [release.revision for release in history]
    whole = revisions == list(range(1, len(history) + 1)) and released == sorted(healed)
    current = registry.read(history[-1].model)
    yield Finding(
        "releases published, healings that say so",
        f"{len(released)}, {len(healed)}",
        whole and current == history[-1],
    )


def _folders(home: Path) -> Iterator[Finding]:
    checked: Counter[str] = Counter()
    broken = []
    for folder in (*visible(home / "runs"), *visible(home / "bundles")):
        checked[folder.parent.name] += 1
        try:
            verify_folder(folder)
        except (RedshankError, OSError) as error:
            broken.append(str(error))
    for folder in visible(home / "snapshots"):
        checked["snapshots"] += 1
        manifest = read_manifest(folder / "manifest.jsonl")
        broken += [i.path for i in manifest.items if not manifest.image_path(i).is_file()]
    field = FieldStore(home / "field")
    for image in (image for domain in field.domains() for image in field.images(domain)):
        checked["field images"] += 1
        with Image.open(image.path) as picture:
            picture.load()
    kinds = ("runs", "bundles", "snapshots", "field images")
    numbers = ", ".join(f"{checked[kind]} {kind}" for kind in kinds)
    yield Finding("published and checked again", numbers)
    yield Finding("half-published among them", str(len(broken)), not broken)


def _healings(home: Path, control: ControlStore, monitor: MonitorStore) -> Iterator[Finding]:
    triggers, healings = control.triggers(), control.healings()
    alarms = [str(t.evidence["alarm_id"]) for t in triggers if t.kind == "alarm"]
    raised = [alarm for alarm in monitor.alarms() if alarm.trigger is not None]
    yield Finding(
        "alarms that trigger, triggers of alarms",
        f"{len(raised)}, {len(alarms)}",
        len(raised) > 0 and sorted(alarms) == sorted(a.alarm_id for a in raised),
    )
    ends = Counter(healing.state for healing in healings)
    yield Finding("healings, by end", ", ".join(f"{n} {state}" for state, n in ends.most_common()))
    open_ones = [h for h in healings if h.state not in ENDS and h.state != "proposed"]
    yield Finding("healings that came to no end", str(len(open_ones)), not open_ones)
    resumed = sum(row.action == "resumed" for row in control.audit())
    yield Finding("deaths of loop or stage in a healing, each gone on from", str(resumed))
    runs = [read_run(folder, verify=False) for folder in visible(home / "runs")]
    bundles = [read_bundle(folder, verify=False) for folder in visible(home / "bundles")]
    again = twice(run.data_sha256 for run in runs)
    again += twice(bundle.provenance.run_id for bundle in bundles)
    again += twice(healing.trigger_id for healing in healings)
    yield Finding("healings trained, exported or released twice", str(again), again == 0)
    yield _audit(control)


def _audit(control: ControlStore) -> Finding:
    try:
        return Finding("rows of the audit chain, verified", str(control.verify_audit()), ok=True)
    except RedshankError as error:
        return Finding("rows of the audit chain, verified", str(error), ok=False)


def _databases(home: Path) -> Iterator[Finding]:
    files = (home / "control.db", home / "monitor.db", *spool_files(home / "spool"))
    bad = 0
    for file in files:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            bad += connection.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
    yield Finding("databases checked, damaged", f"{len(files)}, {bad}", bad == 0)
