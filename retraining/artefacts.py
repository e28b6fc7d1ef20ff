"""What a stage has published already: found by provenance, so that no finished stage runs twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from redshank.bundle import BUNDLE_FILE, read_bundle
from redshank.errors import RedshankError
from redshank.files import sha256_file
from redshank.run import RUN_FILE, Run, read_run


def find_run(runs: Path, manifest: Path) -> str | None:
    """Id of the newest run that was trained on exactly this manifest; None when there is none."""
    digest = sha256_file(manifest)
    for folder in _newest_first(runs, RUN_FILE):
        try:
            run = read_run(folder, verify=False)
        except RedshankError:
            continue  # another schema: certainly not of this healing
        if run.data_sha256 == digest:
            read_run(folder)
            return folder.name
    return None


def find_bundle(bundles: Path, *, run_id: str, model: str) -> str | None:
    """Id of the newest bundle of a model that was exported from this run, or None."""
    for folder in _newest_first(bundles, BUNDLE_FILE):
        try:
            bundle = read_bundle(folder, verify=False)
        except RedshankError:
            continue
        if (bundle.provenance.run_id, bundle.model) == (run_id, model):
            return read_bundle(folder).bundle_id
    return None


def run_of_bundle(runs: Path, bundle_folder: Path) -> tuple[Path, Run]:
    """The run that a bundle was exported from.

    Raises:
        InputError: the run is not in `runs`.
    """
    bundle = read_bundle(bundle_folder, verify=False)
    folder = runs / bundle.provenance.run_id
    return folder, read_run(folder)


def _newest_first(parent: Path, marker: str) -> Iterator[Path]:
    folders = [path.parent for path in parent.glob(f"*/{marker}")]
    return iter(sorted((f for f in folders if not f.name.startswith(".")), reverse=True))
