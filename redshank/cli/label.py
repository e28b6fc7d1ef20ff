"""Draw images to label, and bring in labels that arrived after the predictions.

`redshank label queue` draws kept field images of the domains with an open alarm (or of `--domain`),
uniformly and each scene once: a table (`--out FILE.csv`) whose empty column `label` a person fills
in, or a folder (`--out FOLDER`) whose images a person moves into the subfolder of their class.
`redshank label import` takes either back, or any CSV file with the columns image_sha256 and label.
The digest is the one of the image's original bytes, as in the prediction events. A label that was
known is corrected; every import goes into the audit trail. The evaluator counts labels at its next
tick: how many answers were right, and whether that is less than the bundle promised. Labels of
captured field images count in the gates of the next healing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from redshank.cli import print_json, user_name
from redshank.errors import InputError
from redshank.records import as_dict, did_you_mean
from redshank.settings import Settings

if TYPE_CHECKING:
    from redshank.audit_queue import AuditQueue
    from redshank.store.control import ControlStore

LEAST, MOST = 1, 1000
"""Images that one queue may ask for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the sub-verbs."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    draw = actions.add_parser("queue", help="draw images to be labelled")
    draw.add_argument("--out", type=Path, required=True, help="FILE.csv, or a new folder")
    draw.add_argument("--domain", metavar="D", help="default: each one with an open alarm")
    draw.add_argument("--model", metavar="M", help="default: serving.model")
    draw.add_argument(
        "--images", type=int, default=50, metavar="N", help="labels wanted a domain (default: 50)"
    )
    draw.add_argument("--json", action="store_true", help="print what was drawn as JSON")
    one = actions.add_parser("import", help="read labels from a CSV file or a folder")
    one.add_argument("file", type=Path, metavar="FILE", help="a table or folder with labels")
    one.add_argument("--model", metavar="M", help="whose classes they are (default: serving.model)")
    one.add_argument("--other-classes", action="store_true", help="allow labels that are no class")
    one.add_argument(
        "--picked",
        action="store_true",
        help="the images were picked, not drawn at random: no evidence of accuracy",
    )
    one.add_argument("--actor", default=None, help="who gave the labels (default: you)")
    one.add_argument("--json", action="store_true", help="print what changed as JSON")


def run(options: argparse.Namespace, settings: Settings) -> int:
    """Draw or import."""
    return _queue(options, settings) if options.action == "queue" else _import(options, settings)


def _import(options: argparse.Namespace, settings: Settings) -> int:
    from redshank.label_file import check_classes, read_labels
    from redshank.store.control import open_control

    found = read_labels(options.file)
    model = options.model or settings.serving.model
    classes = _classes(settings, model)
    if classes and not options.other_classes:
        check_classes(found.rows, classes, source=str(options.file), model=model)
    rows, deleted, unknown = _known_here(settings, found.rows, source=str(options.file))
    store = open_control(settings.home.control_database)
    counts = store.import_labels(
        rows,
        actor=options.actor or user_name(),
        subject=found.digest,
        source=options.file.name,
        is_sample=not options.picked,
    )
    store.close()
    told = {"empty": found.empty, "deleted": deleted, "unknown": unknown}
    if options.json:
        print_json(as_dict(counts) | told)
    changes = f"{counts.new} new, {counts.changed} changed, {counts.same} known before"
    notes = {
        "without a label yet, import again when they have one": found.empty,
        "lines that repeat another one": found.repeated,
        "deleted meanwhile, left out": deleted,
        "of images that were neither answered nor kept here: stored, but no evidence": unknown,
    }
    more = "".join(f"; {count} {what}" for what, count in notes.items() if count)
    print(f"{options.file}: {changes}{more}", file=sys.stderr)
    return 0


def _queue(options: argparse.Namespace, settings: Settings) -> int:
    from redshank.audit_queue import kept_digests, why_empty
    from redshank.label_file import write_folder, write_table
    from redshank.store.control import open_control

    if not LEAST <= options.images <= MOST:
        raise InputError(f"--images {options.images}, expected {LEAST} to {MOST}")
    model = options.model or settings.serving.model
    store = open_control(settings.home.control_database)
    queues = _queues(options, settings, model, store)
    store.close()
    root = settings.home.path("field")
    for queue in queues:
        any_kept = bool(kept_digests(root, queue.domain))
        problem = why_empty(queue, settings.serving.capture_domains, any_kept=any_kept)
        if problem is not None and not any(queue.waiting for queue in queues):
            raise problem
        begun = f"{queue.labelled} of {queue.wanted} labelled, {len(queue.waiting)} drawn"
        said = f"{problem.message}; {problem.hint}" if problem is not None else begun
        print(f"{queue.domain}: {said}", file=sys.stderr)
    images = [image for queue in queues for image in queue.waiting]
    if not images:
        print("every queue is done: nothing was written", file=sys.stderr)
    elif options.out.suffix.lower() == ".csv":
        write_table(options.out, images)
        todo = "fill in the column `label` (? where nobody can tell)"
        print(f"{todo}, then: redshank label import {options.out}", file=sys.stderr)
    else:
        write_folder(options.out, images, _classes(settings, model))
        todo = "move each image into the folder of its class"
        print(f"{todo}, then: redshank label import {options.out}", file=sys.stderr)
    if options.json:
        print_json([_as_json(queue) for queue in queues])
    return 0


def _queues(
    options: argparse.Namespace, settings: Settings, model: str, store: ControlStore
) -> list[AuditQueue]:
    """One queue a domain: the asked one, else every one with an open alarm."""
    from redshank.audit_queue import audit_queue, onset_of
    from redshank.fieldstore import FieldStore
    from redshank.store.monitor import open_monitor

    try:
        monitor = open_monitor(settings.home.monitor_database, create=False)
        alarms = [a for a in monitor.alarms(open_only=True) if a.key.model == model]
        seen = {row.key.domain for row in monitor.streams()}
    except InputError:
        if not options.domain:
            raise
        alarms, seen = [], set()  # no evaluator has run: recent images are drawn
    domains = [options.domain] if options.domain else sorted({a.key.domain for a in alarms})
    if not domains:
        raise InputError(
            f"no domain of model {model!r} has an open alarm",
            hint="Give --domain NAME to draw images of any domain.",
        )
    field = FieldStore(settings.home.path("field"))
    known = {*field.domains(), *seen, *settings.serving.capture_domains}
    if known and (unknown := [domain for domain in domains if domain not in known]):
        raise InputError(
            f"nothing is known of domain {unknown[0]!r}{did_you_mean(unknown[0], known)}",
            hint="`redshank watch status` lists domains.",
        )
    return [
        audit_queue(
            field,
            domain,
            labels=store.labels,
            onset_s=onset_of(alarms, model, domain),
            wanted=options.images,
            distance=settings.monitoring.scene_distance,
        )
        for domain in domains
    ]


def _as_json(queue: AuditQueue) -> dict[str, object]:
    return {
        "domain": queue.domain,
        "wanted": queue.wanted,
        "labelled": queue.labelled,
        "images": [image.sha256 for image in queue.waiting],
    }


def _classes(settings: Settings, model: str) -> tuple[str, ...]:
    """Classes of the live version; none when no model was ever released here.

    Raises:
        InputError: others were, this one was not.
    """
    from redshank.bundle import read_bundle
    from redshank.registry import Registry

    registry = Registry(settings.home.path("models"), settings.home.path("bundles"))
    if not (names := registry.names()):
        return ()
    if model not in names:
        raise InputError(
            f"no model {model!r} was released here{did_you_mean(model, names)}",
            hint="`redshank models list` names them; say --model NAME.",
        )
    live = registry.bundle_path(registry.read(model).live)
    return read_bundle(live, verify=False).classes


def _known_here(
    settings: Settings, rows: tuple[tuple[str, str], ...], *, source: str
) -> tuple[list[tuple[str, str]], int, int]:
    """Rows without those of deleted images; how many were deleted, and how many nobody knows.

    Raises:
        InputError: no image of the file was ever answered or kept here.
    """
    from redshank.audit_queue import kept_digests
    from redshank.fieldstore import FieldStore
    from redshank.store.spool_lookup import find_events

    field, spool = settings.home.path("field"), settings.home.path("spool")
    deleted = FieldStore(field).deleted()
    left = [row for row in rows if row[0] not in deleted]
    if not (field.is_dir() or spool.is_dir()):
        return left, len(rows) - len(left), 0  # servers and evaluator run on another machine
    missing = {digest for digest, _ in left} - kept_digests(field)
    missing -= {event.image_sha256 for event in find_events(spool, missing)}
    if left and len(missing) == len(left):
        raise InputError(
            f"none of the {len(left)} images of {source} was answered or kept here",
            hint="image_sha256 is that of the file as it was sent: `sha256sum FILE` prints it. "
            f"Events are kept for {settings.serving.retention_days:g} days.",
        )
    return left, len(rows) - len(left), len(missing)
