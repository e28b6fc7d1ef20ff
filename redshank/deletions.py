"""Images that somebody deleted: which runs, and so which bundles, were trained on them.

Nothing is stored about it: the tombstones of the field store and the manifest in each run say it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from redshank.dataset import read_manifest
from redshank.errors import RedshankError
from redshank.run import MANIFEST_FILE


def deleted_images_of(run_folder: Path, deleted: Collection[str]) -> tuple[str, ...]:
    """Digests of deleted images that a run was trained on, sorted.

    Args:
        run_folder: the run; one that is gone or cannot be read has none.
        deleted: digests of deleted images, from `FieldStore.deleted`.
    """
    manifest = run_folder / MANIFEST_FILE
    if not deleted or not manifest.is_file():
        return ()
    try:
        digests = {item.sha256 for item in read_manifest(manifest).items}
    except RedshankError:
        return ()
    return tuple(sorted(digests & set(deleted)))
