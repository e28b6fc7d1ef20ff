"""The snapshot: the champion's data and the field images of a healing, frozen in one folder.

    snapshots/<healing_id>/
      manifest.jsonl   items of the champion's run with absolute paths, then the field images
      images/          field images, hard links into the field store (copies across file systems)
      snapshot.json    `Snapshot`: what went in, from whom, and what was left out

Labelled source images stay in for ever: without them self-training forgets. Field images that
people labelled stay out of training (split `test`), so that the gates judge by images that the
challenger never saw. The folder appears in one rename and never changes. Images that somebody
deleted stay out, also those of older snapshots.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from redshank.dataset import Item, Manifest, write_manifest
from redshank.errors import InputError
from redshank.fieldstore import FieldImage
from redshank.files import publish_folder, rfc3339, to_json
from redshank.fingerprint import brightness
from redshank.image_bytes import is_uri
from redshank.preprocess import decode_image
from redshank.records import as_dict

SCHEMA = 1
MANIFEST = "manifest.jsonl"
SNAPSHOT = "snapshot.json"
MOST_HELD_BACK = 100
"""Labelled field images of a domain that stay out of training."""
MIN_SPREAD = 0.01
"""Standard deviation of the grey level under which a picture shows nothing (a covered lens)."""


@dataclass(frozen=True)
class Usable:
    """Field images sorted by what a look at the pixels says."""

    images: tuple[FieldImage, ...]
    unreadable: int
    constant: int

    @property
    def broken_share(self) -> float:
        """Share of images that show nothing, in [0, 1]."""
        broken = self.unreadable + self.constant
        return broken / max(1, broken + len(self.images))


@dataclass(frozen=True)
class FieldEntry:
    """Where a field image of the snapshot came from."""

    sha256: str
    domain: str
    client: str
    received_at: str
    scene: str


@dataclass(frozen=True)
class Snapshot:
    """`snapshot.json`."""

    schema: int
    champion_run: str
    manifest_sha256: str
    kept_items: int
    """Items of the champion's manifest; the rest are deleted, gone, or field images once more."""
    unreadable: int
    constant: int
    field: tuple[FieldEntry, ...]


def choose_images(
    images: Iterable[FieldImage],
    *,
    max_images: int,
    client_share: float,
    first: Collection[str] = frozenset(),
) -> tuple[FieldImage, ...]:
    """A bounded choice, as even over domains as they allow, no client above its share.

    Inside a domain the smallest digests win, which is a uniform sample that a second run repeats.
    Images that must not be missed come before them.

    Args:
        images: candidates of all domains, one a scene.
        max_images: most images chosen.
        client_share: share of `max_images` that one client may give, in (0, 1].
        first: digests of images that are chosen before others, as labelled ones.
    """
    per_client = max(1, int(client_share * max_images))
    clients: Counter[str] = Counter()
    waiting: dict[str, list[FieldImage]] = {}
    last_first = sorted(images, key=lambda i: (i.sha256 not in first, i.sha256), reverse=True)
    for image in last_first:
        waiting.setdefault(image.domain, []).append(image)
    chosen: list[FieldImage] = []
    while waiting and len(chosen) < max_images:
        for domain in sorted(waiting):
            image = waiting[domain].pop()
            if not waiting[domain]:
                del waiting[domain]
            if clients[image.client] < per_client and len(chosen) < max_images:
                clients[image.client] += 1
                chosen.append(image)
    return tuple(chosen)


def held_back(images: Iterable[FieldImage], labelled: Collection[str]) -> frozenset[str]:
    """Digests of the labelled images that stay out of training.

    At most `MOST_HELD_BACK` of a domain, and a third of its images: the others are trained on.
    """
    by_domain: dict[str, list[str]] = {}
    for image in images:
        by_domain.setdefault(image.domain, []).append(image.sha256)
    chosen: set[str] = set()
    for digests in by_domain.values():
        most = min(MOST_HELD_BACK, len(digests) // 3)
        chosen.update(sorted(digest for digest in digests if digest in labelled)[:most])
    return frozenset(chosen)


def look_at(images: Iterable[FieldImage], *, height: int, width: int) -> Usable:
    """Decode every image as training will; leave out what is damaged or shows nothing."""
    good, unreadable, constant = [], 0, 0
    for image in images:
        try:
            _, spread = brightness(decode_image(image.path.read_bytes(), height, width))
        except (InputError, OSError):  # damaged, or deleted a moment ago
            unreadable += 1
            continue
        if spread < MIN_SPREAD:
            constant += 1
        else:
            good.append(image)
    return Usable(tuple(good), unreadable, constant)


def write_snapshot(
    folder: Path,
    *,
    champion_run: str,
    champion: Manifest,
    usable: Usable,
    deleted: Collection[str],
    labels: Mapping[str, str] | None = None,
) -> Path:
    """Write and publish a snapshot; returns its manifest. An existing one is complete and stays.

    Args:
        folder: `snapshots/<healing_id>`.
        champion_run: id of the run whose data are carried on.
        champion: that run's manifest.
        usable: the field images to add.
        deleted: digests of images that must not be used any more.
        labels: what people said of field images, by digest.

    Raises:
        InputError: a labelled image of the champion's data is gone.
    """
    manifest = folder / MANIFEST
    if manifest.is_file():
        return manifest
    for stale in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed
        shutil.rmtree(stale, ignore_errors=True)
    fresh = [image for image in usable.images if image.sha256 not in deleted]
    again = {(image.domain, image.sha256) for image in fresh}
    known = {d: label for d, label in (labels or {}).items() if label in champion.classes}
    judges = held_back(fresh, known)
    kept = [
        item
        for item in _carried_items(champion, deleted)
        if item.label or (item.domain, item.sha256) not in again
    ]
    with publish_folder(folder) as scratch:
        for image in fresh:
            _link_or_copy(image.path, scratch / "images" / image.path.name)
        digest = write_manifest(
            scratch / MANIFEST,
            root=str(folder.absolute()),
            classes=champion.classes,
            items=[
                *kept,
                *(_field_item(i, known[i.sha256] if i.sha256 in judges else "") for i in fresh),
            ],
        )
        record = Snapshot(
            schema=SCHEMA,
            champion_run=champion_run,
            manifest_sha256=digest,
            kept_items=len(kept),
            unreadable=usable.unreadable,
            constant=usable.constant,
            field=tuple(_entry(image) for image in fresh),
        )
        (scratch / SNAPSHOT).write_bytes(to_json(as_dict(record)))
    return manifest


def field_items(manifest: Manifest) -> tuple[Item, ...]:
    """The field images of this healing: those below the snapshot's own folder."""
    return tuple(
        item for item in manifest.items if not (is_uri(item.path) or Path(item.path).is_absolute())
    )


def _carried_items(champion: Manifest, deleted: Collection[str]) -> Sequence[Item]:
    kept = []
    for item in champion.items:
        if item.sha256 and item.sha256 in deleted:
            continue
        place = champion.image_location(item)
        if isinstance(place, str):  # a URI: training says so where it is gone
            kept.append(dataclasses.replace(item, path=place))
            continue
        if item.label and not place.is_file():
            raise InputError(
                f"{place} is gone, a labelled image that the champion was trained on",
                hint="Put it back, or train from a manifest without it and publish that model.",
            )
        if place.is_file():
            kept.append(dataclasses.replace(item, path=str(place.absolute())))
    return kept


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for the bytes, so that the field store may forget its own."""
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _field_item(image: FieldImage, judged_as: str) -> Item:
    """To be trained on, or to be judged by: with a label that training never reads."""
    return Item(
        path=f"images/{image.path.name}",
        domain=image.domain,
        split="test" if judged_as else "train",
        hidden_label=judged_as,
        sha256=image.sha256,
        captured_at=rfc3339(image.received_at),
        scene=image.scene,
    )


def _entry(image: FieldImage) -> FieldEntry:
    return FieldEntry(
        sha256=image.sha256,
        domain=image.domain,
        client=image.client,
        received_at=rfc3339(image.received_at),
        scene=image.scene,
    )
