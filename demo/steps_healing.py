"""Steps 6 and 7: the healing from trigger to live (or refused), and the accuracy it brought."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redshank.errors import StageError
from redshank.healing import ENDS, Healing
from redshank.records import as_dict
from redshank.store.control import open_control

from .console import percent
from .field import interleave
from .plan import HARMED
from .steps_field import Field, onset_of, sort_alarms
from .summary import write_summary
from .turn import Turn
from .uploads import Answer, Prober, Upload

HEALING_S = 900.0
SWAP_S = 30.0
PROBE_EVERY_S = 0.05
AFTER_SWAP_S = 3.0
"""Traffic goes on for so long, for the monitor to see the new bundle."""


def heal(turn: Turn, field: Field) -> tuple[Healing, list[Answer]]:
    """Run the loop on the alarm's trigger while a prober keeps asking; returns how it ended.

    The loop leaves the held-out folds out: the challenger inherits the champion's.
    """
    probes = list(interleave({name: probes_of(s) for name, s in field.streams.items()}))
    with (
        turn.running("retrain", "--set", "training.held_out=off", "loop"),
        Prober(turn.service, probes, every_s=PROBE_EVERY_S) as prober,
    ):
        healing = follow_healing(turn)
        note_healing(turn, healing)
        if turn.summary.promoted and healing.challenger is not None:
            wait_for_swap(turn, prober, healing.challenger)
            time.sleep(AFTER_SWAP_S)
    turn.summary.probes_during_healing = len(prober.answers)
    turn.console.say(f"{len(prober.answers)} requests meanwhile, {prober.failed} failed")
    return healing, prober.answers


def probes_of(stream: Sequence[Upload]) -> list[Upload]:
    """What a site goes on sending: its pictures since it changed, or all where it never did.

    Many of them: a few, sent again and again, would be another class mix than the site's.
    """
    changed = [upload for upload in stream if upload.severity]
    return changed or list(stream)


def follow_healing(turn: Turn) -> Healing:
    """Watch the harmed site's healing until it ends, saying each state once.

    Raises:
        StageError: it did not end in time.
    """
    deadline = time.monotonic() + HEALING_S
    said = ""
    while time.monotonic() < deadline:
        healing = healing_of_site(turn, HARMED)
        if healing is not None and f"{healing.state}: {healing.reason}" != said:
            said = f"{healing.state}: {healing.reason}"
            turn.console.say(said)
        if healing is not None and (healing.state in ENDS or healing.state == "proposed"):
            return healing
        turn.check()
        time.sleep(0.5)
    raise StageError(f"the healing did not end within {HEALING_S:g} s")


def note_healing(turn: Turn, healing: Healing) -> None:
    """Print the gate table and keep the outcome."""
    summary = turn.summary
    summary.healing_state, summary.healing_reason = healing.state, healing.reason
    summary.promoted = healing.state == "live"
    summary.gates = [as_dict(gate) for gate in healing.gates]
    for gate in healing.gates:
        turn.console.say(f"{gate.verdict:<12} {gate.name}: {gate.sentence}")
    if not summary.promoted:
        refused = [gate for gate in healing.gates if gate.verdict != "pass"]
        names = ", ".join(f"{gate.name} {gate.domain}".strip() for gate in refused) or "no gate"
        turn.console.say(f"not published ({names}): the first model keeps answering")


def wait_for_swap(turn: Turn, prober: Prober, bundle_id: str) -> None:
    """Wait until the running service answers with the new bundle.

    Raises:
        StageError: it did not swap in time.
    """
    deadline = time.monotonic() + SWAP_S
    while time.monotonic() < deadline:
        if any(answer.version == bundle_id for answer in prober.answers[-20:]):
            turn.console.say(f"the running service answers with {bundle_id}")
            return
        time.sleep(0.1)
    raise StageError(f"the service did not take {bundle_id} within {SWAP_S:g} s")


def count_everything(turn: Turn, answers: Sequence[Answer]) -> None:
    """Count every request of the run and who answered, and false alarms up to now."""
    turn.summary.false_alarms = len(sort_alarms(turn, onset_of(answers))[1])
    turn.summary.requests = len(answers)
    turn.summary.failed_requests = sum(not answer.ok for answer in answers)
    turn.summary.versions_seen = len({answer.version for answer in answers if answer.ok})


def examine(turn: Turn, exam: Sequence[Upload], first: str, challenger: str | None) -> None:
    """Accuracy before and after, on the same fresh images of the harmed site.

    Args:
        turn: this turn.
        exam: the images; their labels are used here and nowhere else.
        first: bundle that was live when the site got worse.
        challenger: bundle of the healing, if it came so far.
    """
    summary = turn.summary
    label_of = _write_exam(exam, turn.workspace.root / "exam")
    summary.accuracy_before = summary.accuracy_after = _accuracy(turn, first, label_of)
    turn.console.say(f"before  {first}: {percent(summary.accuracy_before)} of {len(exam)} images")
    if challenger is not None:
        summary.accuracy_challenger = _accuracy(turn, challenger, label_of)
        name = "after " if summary.promoted else "refused"
        accuracy = percent(summary.accuracy_challenger)
        turn.console.say(f"{name}  {challenger}: {accuracy} of {len(exam)} images")
    if summary.promoted:
        summary.accuracy_after = summary.accuracy_challenger


def write_page(turn: Turn) -> None:
    """Let `redshank report` draw everything, these figures included."""
    file = turn.workspace.root / "summary.json"
    write_summary(file, turn.summary)
    latent = str(turn.plan.latent_images)
    report = turn.verb("report", "--summary", str(file), "--latent-images", latent)
    turn.console.say(f"report: {report.stdout.strip()}")


def healing_of_site(turn: Turn, site: str) -> Healing | None:
    """The first healing that `site` triggered; one that was superseded only if there is no other.

    Later triggers wait for the cool-down, which the demo does not sit out.
    """
    store = open_control(turn.home.control_database)
    try:
        mine = {trigger.trigger_id for trigger in store.triggers() if site in trigger.domains}
        healings = [one for one in store.healings() if one.trigger_id in mine]
    finally:
        store.close()
    return min(healings, key=lambda one: (one.state == "superseded", one.healing_id), default=None)


def _write_exam(exam: Sequence[Upload], folder: Path) -> dict[str, str]:
    folder.mkdir()
    label_of = {}
    for number, upload in enumerate(exam):
        path = folder / f"{number:04d}.png"
        path.write_bytes(upload.body)
        label_of[str(path)] = upload.label
    return label_of


def _accuracy(turn: Turn, bundle_id: str, label_of: dict[str, str]) -> float:
    stdout = turn.verb("predict", bundle_id, "--json", *label_of).stdout
    answers: list[dict[str, Any]] = [json.loads(line) for line in stdout.splitlines()]
    right: int = sum(answer.get("class") == label_of[answer["file"]] for answer in answers)
    return round(right / len(label_of), 4)
