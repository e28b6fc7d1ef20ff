"""The labelling form: the next image of a domain's audit queue, and what somebody says it shows.

The page never shows the model's answer: whoever sees it, agrees with it too often.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redshank.audit_queue import WANTED, AuditQueue, audit_queue, kept_digests, onset_of, why_empty
from redshank.bundle import read_bundle
from redshank.errors import ConflictError, InputError
from redshank.fieldstore import FieldImage
from redshank.records import did_you_mean
from redshank.store.control_labels import UNCLEAR

from .links import domain_path, path
from .sources import Sources

MORE = 100
"""Labels that the page offers to go on to."""
MOST = 1000
MOST_BUTTONS = 40
"""Classes that get a button each; of more the name is typed."""


@dataclass(frozen=True)
class LabelQueue:
    """How far a domain's audit queue is."""

    labelled: int
    wanted: int
    waiting: int
    problem: str
    """Why nothing waits and what to do; empty when something does, or when all is done."""


def queue_of(sources: Sources, model: str, domain: str, wanted: int = WANTED) -> AuditQueue:
    """The audit queue of a domain, as the command draws it."""
    return audit_queue(
        sources.field,
        domain,
        labels=sources.control.labels,
        onset_s=onset_of(sources.board.picture.alarms, model, domain),
        wanted=wanted,
        distance=sources.settings.monitoring.scene_distance,
    )


def progress_of(sources: Sources, queue: AuditQueue) -> LabelQueue:
    """Progress in numbers, and what to do where there is none."""
    any_kept = bool(kept_digests(sources.settings.home.path("field"), queue.domain))
    captured = sources.settings.serving.capture_domains
    error = why_empty(queue, captured, any_kept=any_kept)
    problem = f"{error.message}. {error.hint}" if error is not None else ""
    return LabelQueue(queue.labelled, queue.wanted, len(queue.waiting), problem)


def label_values(
    sources: Sources, model: str, domain: str, version: str, query: Mapping[str, str]
) -> dict[str, Any]:
    """Values of the page's template.

    Args:
        sources: what the pages read.
        model: name of the model.
        domain: name of the domain.
        version: whose classes are asked for.
        query: `wanted`, how many labels; `image`, one that was labelled and is to be corrected;
            `last`, the one that was labelled a moment ago.

    Raises:
        InputError: there is no such image, or the version's bundle is not here.
    """
    wanted = _wanted(query)
    queue = queue_of(sources, model, domain, wanted)
    shown = next(iter(queue.waiting), None)
    if digest := query.get("image", ""):
        shown = _kept(sources, domain, digest)
    last = query.get("last", "")
    classes = _classes(sources, version)
    return {
        "model": model,
        "domain": domain,
        "here": domain_path(model, domain) + "/label",
        "back": domain_path(model, domain),
        "image": shown,
        "source": "" if shown is None else path("images", domain, shown.sha256),
        "before": sources.control.labels([digest]).get(digest, "") if digest else "",
        "last": last,
        "last_label": sources.control.labels([last]).get(last, "") if last else "",
        "progress": progress_of(sources, queue),
        "wanted": wanted,
        "more": MORE if wanted < MORE else 0,
        "classes": classes,
        "as_buttons": len(classes) <= MOST_BUTTONS,
        "unclear": UNCLEAR,
    }


def give_label(
    sources: Sources,
    actor: str,
    key: tuple[str, str, str],
    form: Mapping[str, str],
) -> str:
    """Write a label with its audit row; gives the page to show next.

    Args:
        sources: where labels are written.
        actor: who says so.
        key: model, version and domain.
        form: `image`, `label` and `wanted`.

    Raises:
        InputError: there is no such class or image.
        ConflictError: the image is in no queue and was never labelled: it was not drawn.
    """
    model, version, domain = key
    label, wanted = form.get("label", ""), _wanted(form)
    classes = _classes(sources, version)
    if label != UNCLEAR and label not in classes:
        raise InputError(
            f"{label[:80]!r} is no class of {model}{did_you_mean(label, classes)}",
            hint="Nothing was written. Go back and choose a class.",
        )
    image = _kept(sources, domain, form.get("image", ""))
    queue = queue_of(sources, model, domain, MOST)
    is_drawn = any(one.sha256 == image.sha256 for one in queue.waiting)
    if not (is_drawn or sources.control.labels([image.sha256])):
        raise ConflictError(
            "this image is not in the queue any more",
            hint="Another one of its scene was labelled meanwhile. Nothing was written.",
        )
    sources.control.import_labels(
        [(image.sha256, label)], actor=actor, subject=image.sha256, source="console"
    )
    there = urllib.parse.urlencode({"wanted": wanted, "last": image.sha256})
    return f"{domain_path(model, domain)}/label?{there}"


def _kept(sources: Sources, domain: str, digest: str) -> FieldImage:
    for image in sources.field.images(domain):
        if image.sha256 == digest:
            return image
    raise InputError(
        f"no image {digest[:12]!r} of {domain!r} is kept",
        hint="It may have been deleted meanwhile. Nothing was written.",
    )


def _classes(sources: Sources, version: str) -> tuple[str, ...]:
    return read_bundle(sources.registry.bundle_path(version), verify=False).classes


def _wanted(values: Mapping[str, str]) -> int:
    text = values.get("wanted", "")
    return min(max(int(text), 1), MOST) if text.isdecimal() and len(text) < 7 else WANTED
