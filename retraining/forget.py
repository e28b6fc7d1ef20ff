"""Forgets a field image: in the field store, in old snapshots, and in all that is trained later.

A model cannot forget what it was trained on, so the audit row names the bundles it went into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redshank.bundle import BUNDLE_FILE, read_bundle
from redshank.deletions import deleted_images_of
from redshank.errors import RedshankError
from redshank.records import as_dict
from redshank.run import RUN_FILE

from .loop import WORKING
from .workplace import Workplace


@dataclass(frozen=True)
class Forgotten:
    """Where one image went from, and where it had been used."""

    sha256: str
    sites: int
    """Domains of the field store that held it."""
    snapshots: tuple[str, ...]
    """Healings whose snapshot held a copy that is gone now."""
    kept_by: tuple[str, ...]
    """Healings under way that still need their copy: forget it again when they have ended."""
    bundles: tuple[str, ...]
    """Bundles that were trained on it."""


def forget(
    place: Workplace, digests: Sequence[str], *, actor: str, reason: str
) -> tuple[Forgotten, ...]:
    """Delete images by the digest of their original bytes; each leaves one audit row.

    Raises:
        InputError: a digest is none.
    """
    sites = {digest: place.field.delete(digest) for digest in digests}
    busy = {healing.healing_id for healing in place.store.healings(*WORKING)}
    used = _bundles_by_image(place, digests)
    rows = []
    for digest in sites:
        gone, kept = [], []
        for copy in sorted(place.snapshots.glob(f"[!.]*/images/{digest}.*")):
            healing_id = copy.parts[-3]
            if healing_id in busy:
                kept.append(healing_id)
                continue
            copy.unlink(missing_ok=True)
            gone.append(healing_id)
        row = Forgotten(digest, sites[digest], tuple(gone), tuple(kept), used.get(digest, ()))
        details = as_dict(row) | {"reason": reason}
        place.store.record(actor=actor, action="forgotten", subject=digest, details=details)
        rows.append(row)
    return tuple(rows)


def _bundles_by_image(place: Workplace, digests: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Bundles of all runs whose manifest lists an image, by image."""
    found: dict[str, tuple[str, ...]] = {}
    bundles = _bundles_by_run(place.registry.bundles)
    for run in sorted(path.parent for path in place.runs.glob(f"[!.]*/{RUN_FILE}")):
        for digest in deleted_images_of(run, digests):
            found[digest] = found.get(digest, ()) + bundles.get(run.name, ())
    return found


def _bundles_by_run(bundles: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for folder in sorted(path.parent for path in bundles.glob(f"[!.]*/{BUNDLE_FILE}")):
        try:
            run_id = read_bundle(folder, verify=False).provenance.run_id
        except RedshankError:
            continue  # of another schema: `models show` will say so
        found[run_id] = (*found.get(run_id, ()), folder.name)
    return found
