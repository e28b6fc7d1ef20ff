"""Training from a bucket: the same pixels, the same weights, errors that name the URI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from redshank.dataset import read_manifest, write_manifest
from redshank.errors import InputError
from redshank.files import sha256_file
from training.images import load_images
from training.train import train

from .conftest import SMALL, MakeManifest

BUCKET = "memory://training-set"


def silent(_phase: str, _done: int, _total: int) -> None:
    pass


@pytest.fixture
def manifests(make_manifest: MakeManifest) -> Iterator[tuple[Path, Path]]:
    """One set of images on disk and in a bucket."""
    local = make_manifest()
    manifest = read_manifest(local)
    system = fsspec.filesystem("memory")
    system.pipe({f"/training-set/{i.path}": manifest.read_image(i) for i in manifest.items})
    remote = local.with_name("remote.jsonl")
    write_manifest(remote, root=BUCKET, classes=manifest.classes, items=manifest.items)
    yield local, remote
    system.rm("/training-set", recursive=True)


def test_a_bucket_trains_to_the_same_weights(manifests: tuple[Path, Path], tmp_path: Path) -> None:
    runs = [
        train(path, SMALL, tmp_path / str(number), progress=silent)
        for number, path in enumerate(manifests)
    ]
    assert sha256_file(runs[0] / "model.safetensors") == sha256_file(runs[1] / "model.safetensors")
    carried = read_manifest(runs[1] / "manifest.jsonl")
    assert carried.root == BUCKET
    assert carried.read_image(carried.items[0])


def test_pixels_are_those_on_disk_and_missing_ones_are_named(
    manifests: tuple[Path, Path], tmp_path: Path
) -> None:
    local, remote = (read_manifest(path) for path in manifests)
    on_disk = load_images(local, 16, tmp_path / "a.npy", silent)
    assert np.array_equal(load_images(remote, 16, tmp_path / "b.npy", silent), on_disk)
    name = remote.items[3].path
    fsspec.filesystem("memory").rm(f"/training-set/{name}")
    with pytest.raises(InputError, match=f"{BUCKET}/{name}: no such file"):
        load_images(remote, 16, tmp_path / "c.npy", silent)
