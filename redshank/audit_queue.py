"""Which kept field images of a domain a person should label: a uniform, stable, order-free sample.

The order is that of a hash of the digest, of its own so that it knows nothing of the field store's
choice, of time, of the model's answer or of who asks. What was labelled stays in the sample; the
next images are those with the smallest hashes. One image of a scene is enough.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from redshank.errors import InputError
from redshank.field_files import folder_name
from redshank.field_scenes import Frame
from redshank.fieldstore import FieldImage, FieldStore
from redshank.labelled_scenes import scenes_of
from redshank.store.control_labels import UNCLEAR
from redshank.store.monitor_rows import Alarm

WANTED = 50
"""Labels that a domain's queue asks for: 30 to 100 are useful."""
RECENT_S = 7 * 86_400.0
"""Without an alarm: images of the last week before the newest one."""


@dataclass(frozen=True)
class AuditQueue:
    """The labels that a domain has and those that it needs."""

    domain: str
    onset_s: float | None
    """Images came since then; None: no alarm is open, and recent ones are taken."""
    wanted: int
    labelled: int
    """Kept images of that time with a label, one a scene; unclear ones left out."""
    waiting: tuple[FieldImage, ...]
    """To be labelled next, in this order."""


def audit_queue(
    field: FieldStore,
    domain: str,
    *,
    labels: Callable[[Iterable[str]], Mapping[str, str]],
    onset_s: float | None,
    wanted: int = WANTED,
    distance: int = 6,
) -> AuditQueue:
    """The queue of a domain.

    Args:
        field: the kept images.
        domain: whose.
        labels: digests -> labels of those that have one.
        onset_s: of the open alarm, seconds since the epoch; None without one.
        wanted: how many labels are asked for, labelled images included.
        distance: largest dHash distance inside a scene.
    """
    kept = field.images(domain, since_s=onset_s)
    if onset_s is None and kept:
        kept = tuple(i for i in kept if i.received_at >= kept[-1].received_at - RECENT_S)
    known = labels(image.sha256 for image in kept)
    frames = {i.sha256: Frame(i.received_at, i.client, i.sequence_id, i.dhash) for i in kept}
    scene_of = scenes_of(frames, distance=distance)
    taken = {scene_of[d] for d, label in known.items() if d in frames and label != UNCLEAR}
    labelled, waiting = len(taken), []
    for image in sorted(kept, key=lambda image: _place(image.sha256)):
        scene = scene_of[image.sha256]
        if image.sha256 not in known and scene not in taken:
            taken.add(scene)
            waiting.append(image)
    return AuditQueue(
        domain, onset_s, wanted, labelled, tuple(waiting[: max(wanted - labelled, 0)])
    )


def onset_of(alarms: Iterable[Alarm], model: str, domain: str) -> float | None:
    """Onset of the open alarm of a domain, that of harm before mere change; None without one."""
    found = [a for a in alarms if (a.key.model, a.key.domain) == (model, domain)]
    found = [alarm for alarm in found if alarm.closed_s is None]
    found.sort(key=lambda alarm: (alarm.kind != "degraded", -alarm.raised_s))
    return found[0].onset_s if found else None


def why_empty(queue: AuditQueue, captured: Collection[str], *, any_kept: bool) -> InputError | None:
    """Why there is nothing to label and what to do; None when there is, or when it is done.

    Args:
        queue: of the domain.
        captured: `serving.capture_domains`.
        any_kept: whether any image of the domain is kept, of whatever time.
    """
    if queue.waiting or queue.labelled >= queue.wanted:
        return None
    if queue.labelled:
        return InputError(
            f"all {queue.labelled} kept scenes of {queue.domain!r} are labelled, "
            f"{queue.wanted} are wanted",
            hint="More images come with time: ask again later.",
        )
    if any_kept:
        return InputError(
            f"no image of {queue.domain!r} that was kept is of the time since the onset",
            hint="New images come with time: ask again later, or look at serving.capture_days.",
        )
    if queue.domain in captured:
        return InputError(
            f"no image of {queue.domain!r} is kept yet",
            hint="serving.capture_domains names it: they come once the server runs with that.",
        )
    return InputError(
        f"no image of {queue.domain!r} is kept: keeping field images is off by default",
        hint="Add it to serving.capture_domains and start the server anew: images are kept from "
        "then on.",
    )


def kept_digests(root: Path, domain: str | None = None) -> set[str]:
    """Digests of the images in a field store (of one domain), without reading their records."""
    folder = "[!.]*" if domain is None else glob.escape(folder_name(domain))
    return {path.stem for path in root.glob(f"{folder}/*.json")} if root.is_dir() else set()


def _place(digest: str) -> str:
    return hashlib.sha256(b"audit queue\n" + digest.encode()).hexdigest()
