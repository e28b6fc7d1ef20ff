"""Which images a cell sees: the leave-one-domain-out protocol.

The target domain is tested whole. Every other domain keeps its own splits; of its labelled training
images `labels_per_class` keep their label, the rest trains unlabelled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from redshank.dataset import Item, Manifest, read_manifest, write_manifest
from redshank.errors import InputError
from redshank.image_bytes import as_location
from redshank.layouts import AUTO, read_layout
from redshank.layouts.splits import keep_labels, make_unseen

from .cells import CellPlan


def read_images(source: str, layout: str | None = None) -> Manifest:
    """A manifest, or any folder, bucket or table that `redshank data scan` reads.

    Raises:
        InputError: it is none of them.
    """
    place = as_location(source)
    if isinstance(place, Path) and place.is_file() and _is_manifest(place):
        return read_manifest(place)
    listing = read_layout(place, layout or AUTO)
    return Manifest(listing.classes, listing.root, listing.items)


def choose_targets(manifest: Manifest, wanted: Sequence[str]) -> tuple[str, ...]:
    """The domains to leave out, one at a time: all with known labels unless some are named.

    Raises:
        InputError: a named domain is not there or has no labels, or nothing is left to train on.
    """
    known = sorted({i.domain for i in manifest.items if i.label or i.hidden_label})
    for domain in wanted:
        if domain not in known:
            raise InputError(
                f"domain {domain!r} is not in the data, or has no labels to test with",
                hint=f"Domains with labels: {', '.join(known)}.",
            )
    if len(manifest.source_domains) < 2:
        raise InputError(
            f"{len(manifest.source_domains)} domains have labelled training images, a bench "
            "leaves one out and trains on the others: expected at least 2"
        )
    return tuple(wanted) or tuple(known)


def write_cell_manifest(images: Manifest, plan: CellPlan, path: Path) -> None:
    """What the cell's training gets; which images keep their label depends on the seed."""
    items: Sequence[Item] = make_unseen(images.items, [plan.target])
    if plan.labels_per_class is not None:
        items = keep_labels(items, per_class=plan.labels_per_class, seed=plan.seed)
    write_manifest(path, root=str(images.root), classes=images.classes, items=items)


def _is_manifest(path: Path) -> bool:
    with path.open("rb") as file:
        line = file.readline(1 << 24)
    try:
        first = json.loads(line)
    except ValueError:
        return False
    return isinstance(first, dict) and "schema" in first and "classes" in first
