"""Heal models: triggers, the loop that works on them, and the decisions that people take.

A trigger (alarm, schedule, or `trigger` below) becomes a healing: a snapshot of captured field
images, a training from the live model's weights, an export, the gates, and then a release, a
refusal, or a proposal that waits for `approve`. Every step is in the audit trail.

`run` exits with 0 when the healing ended or waits for a person, 3 when the gates refused it, and 1
when it failed or is not finished: run it again then.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING

from redshank.cli import print_json, user_name
from redshank.errors import ConflictError, UsageError
from redshank.records import as_dict
from redshank.settings import Settings

if TYPE_CHECKING:
    from redshank.fieldstore import FieldStore
    from redshank.store.control import ControlStore
    from retraining.workplace import Workplace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    loop = actions.add_parser("loop", help="work on triggers until stopped")
    loop.add_argument("--once", action="store_true", help="one pass over all triggers")
    one = actions.add_parser("run", help="work on one trigger, as far as it goes now")
    one.add_argument("--trigger-id", required=True, metavar="T", help="its id")
    trigger = actions.add_parser("trigger", help="ask for a healing")
    trigger.add_argument("--domains", default="", help="comma-separated; default: all that capture")
    trigger.add_argument("--reason", default="asked for by hand", help="for the audit trail")
    trigger.add_argument("--since", default=None, metavar="TIME", help="use images from then on")
    listing = actions.add_parser("list", help="every healing and its state")
    approve = actions.add_parser("approve", help="let a proposed healing go on")
    reject = actions.add_parser("reject", help="end a healing that waits")
    for decision in (approve, reject):
        decision.add_argument("id", metavar="ID", help="of the healing or its trigger")
        decision.add_argument("--reason", default="", help="for the audit trail")
    audit = actions.add_parser("audit", help="the audit trail")
    audit.add_argument("--verify", action="store_true", help="check its hash chain")
    forgetting = actions.add_parser("forget", help="delete field images for ever")
    forgetting.add_argument("sha256", nargs="+", help="digest of the original bytes")
    forgetting.add_argument("--reason", default="", help="for the audit trail")
    for reading in (listing, audit):
        reading.add_argument("--json", action="store_true", help="print JSON")
    for writing in (trigger, approve, reject, forgetting):
        writing.add_argument("--actor", default=None, help="who decides (default: you)")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Run one sub-verb."""
    from redshank.store.control import open_control

    store = open_control(settings.home.control_database)
    try:
        match options.action:
            case "loop":
                return _loop(_workplace(options, settings, store), once=options.once)
            case "run":
                return _run_one(_workplace(options, settings, store), options.trigger_id)
            case "trigger":
                return _trigger(store, options, settings)
            case "list":
                return _list(store, as_json=options.json)
            case "approve" | "reject":
                return _decision(store, options)
            case "audit":
                return _audit(store, options)
            case "forget":
                return _forget(_workplace(options, settings, store), options)
            case other:
                raise UsageError(f"retrain {other} is no action")
    finally:
        store.close()


def _loop(place: Workplace, *, once: bool) -> int:
    from retraining.loop import run_loop

    if not once:
        _say(f"working on triggers of {place.model}; retraining.mode is {place.rules.mode}")
    worked = run_loop(place, holder=_holder(), once=once, stop=stop_on_signals().is_set)
    if not worked:
        _say("another loop holds the lease; nothing was done")
    return 0


def _run_one(place: Workplace, trigger_id: str) -> int:
    from redshank.healing import ENDS
    from retraining.loop import run_trigger

    healing = run_trigger(place, trigger_id, holder=_holder(), stop=stop_on_signals().is_set)
    if healing is None:
        raise ConflictError(
            "another loop holds the lease",
            hint="It will work on the trigger too. See: redshank retrain list",
        )
    print(f"{healing.healing_id}  {healing.state}  {healing.reason}")
    if healing.state not in ENDS | {"proposed"}:
        _say("not finished: run it again to go on")
        return 1  # also after SIGTERM: a scheduler must not take it for done
    return {"failed": 1, "rejected": 3}.get(healing.state, 0)


def _trigger(store: ControlStore, options: argparse.Namespace, settings: Settings) -> int:
    from redshank.fieldstore import FieldStore
    from redshank.files import parse_rfc3339
    from redshank.trigger import make_trigger

    domains = [name.strip() for name in options.domains.split(",") if name.strip()]
    trigger = make_trigger(
        kind="manual",
        model=settings.export.model,
        domains=domains,
        onset_at_s=None if options.since is None else parse_rfc3339(options.since),
        created_at_s=time.time(),
        actor=options.actor or user_name(),
        evidence={"reason": options.reason},
    )
    if not store.add_trigger(trigger):
        raise ConflictError("the same trigger was there already", hint="See: redshank retrain list")
    print(trigger.trigger_id)
    captured = FieldStore(settings.home.path("field")).domains()
    known = ", ".join(captured) or "none"
    missing = sorted(set(domains) - set(captured))
    for name in missing:
        _say(f"no field image of {name!r} is captured yet (captured: {known}); it waits for some")
    if missing or not captured:
        _say("redshank serve keeps images of the domains in serving.capture_domains only")
    return 0


def _list(store: ControlStore, *, as_json: bool) -> int:
    triggers = {trigger.trigger_id: trigger for trigger in store.triggers()}
    healings = store.healings()
    if as_json:
        print_json([as_dict(h) | {"trigger": as_dict(triggers[h.trigger_id])} for h in healings])
        return 0
    if not healings:
        _say("no healing yet; ask for one: redshank retrain trigger")
    for healing in healings:
        trigger = triggers[healing.trigger_id]
        domains = ",".join(trigger.domains) or "all"
        print(
            f"{healing.healing_id}  {healing.state:<11} {trigger.kind:<8} {healing.model}  "
            f"{domains}  {healing.reason}"
        )
        for gate in healing.gates:
            print(f"    {gate.verdict:<11} {gate.name:<17} {gate.sentence}")
    return 0


def _decision(store: ControlStore, options: argparse.Namespace) -> int:
    from redshank.store.decisions import approve, reject

    decide = approve if options.action == "approve" else reject
    actor = options.actor or user_name()
    moved = decide(store, options.id, actor=actor, reason=options.reason)
    print(f"{moved.healing_id}  {moved.state}  {moved.reason}")
    return 0


def _audit(store: ControlStore, options: argparse.Namespace) -> int:
    rows = store.audit()
    length = store.verify_audit() if options.verify else 0
    if options.json:
        print_json([as_dict(row) for row in rows])
    else:
        for row in rows:
            details = json.dumps(row.details, ensure_ascii=False)
            print(f"{row.seq:>5}  {row.at}  {row.actor}  {row.action}  {row.subject}  {details}")
    if options.verify:
        _say(f"the chain of {length} rows is whole")
    return 0


def _forget(place: Workplace, options: argparse.Namespace) -> int:
    from retraining.forget import forget

    actor = options.actor or user_name()
    rows = forget(place, options.sha256, actor=actor, reason=options.reason)
    for row in rows:
        bundles = ", ".join(row.bundles) or "none"
        print(
            f"{row.sha256}  deleted at {row.sites} sites and in {len(row.snapshots)} snapshots; "
            f"models trained on it: {bundles}"
        )
    busy = sorted({healing_id for row in rows for healing_id in row.kept_by})
    if busy:
        raise ConflictError(
            f"healing {', '.join(busy)} is under way and still has its copy",
            hint="Forget the image again when it has ended. See: redshank retrain list",
        )
    return 0


def _workplace(options: argparse.Namespace, settings: Settings, store: ControlStore) -> Workplace:
    from redshank.registry import Registry
    from retraining.workplace import Workplace

    home = settings.home
    handed_on = [] if options.config is None else ["--config", str(options.config)]
    for override in options.set:
        handed_on += ["--set", override]
    return Workplace(
        store=store,
        registry=Registry(home.path("models"), home.path("bundles")),
        field=_field_store(settings),
        runs=home.path("runs"),
        snapshots=home.path("snapshots"),
        spool=home.path("spool"),
        logs=home.path("healings"),
        model=settings.export.model,
        rules=settings.retraining,
        program=(sys.executable, "-m", "redshank"),
        options=tuple(handed_on),
        clock=time.time,
        say=_say,
        precision=settings.serving.precision,
    )


def _field_store(settings: Settings) -> FieldStore:
    """The images of this home, which follow a mirror where the settings name one."""
    from redshank.field_follower import FollowingFieldStore
    from redshank.fieldstore import FieldStore
    from redshank.image_bytes import as_location
    from redshank.object_folder import ObjectFolder

    root, mirror = settings.home.path("field"), settings.mirror
    if not mirror.pull_from:
        return FieldStore(root)
    place = ObjectFolder(as_location(mirror.pull_from))
    return FollowingFieldStore(root, place, every_s=mirror.every_s, say=_say)


def stop_on_signals() -> threading.Event:
    """Set by SIGTERM or SIGINT; the loop then ends its stage and keeps the healing resumable."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    return stop


def _holder() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
