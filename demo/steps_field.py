"""Steps 4 and 5: a service, a field that sends to it, and the monitor's verdict on each site."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from redshank.dataset import read_manifest
from redshank.errors import StageError
from redshank.settings import Home
from redshank.store.monitor import open_monitor
from redshank.store.monitor_rows import Alarm

from .console import percent
from .field import deal_contents, interleave, photograph_site
from .plan import HARMED, MODEL
from .turn import Turn
from .uploads import Answer, Upload

SETTLE_S = 60.0
"""Longest wait for the monitor to have read every event."""


@dataclass(frozen=True)
class Field:
    """All pictures of one run of the demo, taken in advance."""

    streams: dict[str, list[Upload]]
    exam: list[Upload]
    """Fresh pictures of the harmed site, never sent while it is watched."""


def photograph_field(turn: Turn) -> Field:
    """Take every picture that the sites will send."""
    plan, manifest = turn.plan, read_manifest(turn.workspace.manifest)
    sites = plan.sites()
    exam_site = plan.harmed_site(plan.exam_images, onset=0)
    wanted = [(site.content, site.images) for site in (*sites, exam_site)]
    *hands, exam_hand = deal_contents(manifest, wanted, seed=plan.seed)
    streams = {
        site.name: photograph_site(site, hand, manifest, seed=plan.seed)
        for site, hand in zip(sites, hands, strict=True)
    }
    return Field(streams, photograph_site(exam_site, exam_hand, manifest, seed=plan.seed))


def send_field(turn: Turn, field: Field) -> list[Answer]:
    """Send all streams, site after site in turn, at the plan's pace."""
    pace = turn.plan.images_per_s
    uploads = list(interleave(field.streams))
    batch = max(1, int(pace // 4))
    answers: list[Answer] = []
    began = time.monotonic()
    for first in range(0, len(uploads), batch):
        turn.check()
        answers += turn.service.predict_all(uploads[first : first + batch])
        time.sleep(max(0.0, len(answers) / pace - (time.monotonic() - began)))
    refused = [answer for answer in answers if not answer.ok]
    turn.console.say(f"{len(answers)} images sent, {len(refused)} requests failed")
    return answers


def wait_until_watched(turn: Turn, sent: int) -> None:
    """Wait until the monitor has counted `sent` requests.

    Raises:
        StageError: it fell behind for too long.
    """
    deadline = time.monotonic() + SETTLE_S
    while (seen := _events_seen(turn.home)) < sent:
        turn.check()
        if time.monotonic() > deadline:
            raise StageError(f"the monitor has counted {seen} of {sent} requests")
        time.sleep(0.3)


def judge_monitor(turn: Turn, field: Field, answers: Sequence[Answer]) -> Alarm | None:
    """Compare the monitor's alarms with what the simulator did; returns the right alarm."""
    summary = turn.summary
    onset_at = onset_of(answers)
    right, wrong = sort_alarms(turn, onset_at)
    summary.false_alarms = len(wrong)
    summary.accuracy_stream = stream_accuracy(answers)
    _say_verdicts(turn, field)
    if not right:
        turn.console.say(f"{HARMED} was not called degraded: nothing triggers a retraining")
        return None
    alarm = right[0]
    summary.alarm_raised = True
    summary.alarm_reason = alarm.sentence
    summary.images_until_alarm = sum(
        answer.upload.domain == HARMED and onset_at <= answer.sent_at <= alarm.raised_s
        for answer in answers
    )
    turn.console.say(
        f"alarm: {HARMED} degraded, {summary.images_until_alarm} images after its mount came "
        f"loose\nwhy: {alarm.sentence}"
    )
    return alarm


def onset_of(answers: Sequence[Answer]) -> float:
    """When the harmed site really got worse, in seconds since the epoch."""
    return min(a.sent_at for a in answers if a.upload.domain == HARMED and a.upload.severity)


def sort_alarms(turn: Turn, onset_at: float) -> tuple[list[Alarm], list[Alarm]]:
    """Alarms `degraded` so far: right (the harmed site, after its onset), then false ones."""
    store = open_monitor(turn.home.monitor_database, create=False)
    degraded = [alarm for alarm in store.alarms() if alarm.kind == "degraded"]
    store.engine.dispose()
    right = [a for a in degraded if a.key.domain == HARMED and a.raised_s >= onset_at]
    return right, [alarm for alarm in degraded if alarm not in right]


def stream_accuracy(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """Accuracy of the answers of each site, before and after it changed."""
    hits: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for answer in answers:
        when = "after_onset" if answer.upload.severity else "before_onset"
        hits[answer.upload.domain, when].append(answer.correct)
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for (site, when), correct in sorted(hits.items()):
        table[site][when] = round(sum(correct) / len(correct), 4)
    return dict(table)


def _say_verdicts(turn: Turn, field: Field) -> None:
    store = open_monitor(turn.home.monitor_database, create=False)
    streams = store.streams()
    store.engine.dispose()
    state_of = {stream.key.domain: stream.state for stream in streams if stream.key.model == MODEL}
    turn.console.say("site    monitor says  true accuracy (healthy, changed)   images")
    for site, uploads in field.streams.items():
        accuracy = turn.summary.accuracy_stream[site]
        before, after = accuracy.get("before_onset"), accuracy.get("after_onset")
        turn.console.say(
            f"{site:<7} {state_of.get(site, 'unknown'):<13} "
            f"{percent(before):>8}  {percent(after):>8}  {len(uploads):>20}"
        )


def _events_seen(home: Home) -> int:
    if not home.path("monitor.db").is_file():
        return 0
    store = open_monitor(home.monitor_database, create=True)
    try:
        return sum(window.events for window in store.windows(model=MODEL))
    finally:
        store.engine.dispose()
