from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from redshank.dataset import Item, Manifest, read_manifest
from redshank.errors import InputError
from redshank.preprocess import decode_image
from training.images import load_images

from .conftest import MakeManifest


def silent(_phase: str, _done: int, _total: int) -> None:
    pass


def test_pixels_are_those_of_the_shared_decoder(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest = read_manifest(make_manifest())
    seen: list[tuple[str, int, int]] = []
    images = load_images(manifest, 20, tmp_path / "x.npy", lambda *a: seen.append(a))
    assert images.shape == (60, 20, 20, 3)
    for number in (0, 33, 59):
        data = manifest.image_path(manifest.items[number]).read_bytes()
        assert np.array_equal(images[number], decode_image(data, 20, 20))
    assert seen[-1] == ("decode", 60, 60)


def test_cache_is_used_again_until_a_file_changes(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest = read_manifest(make_manifest())
    decoded: list[int] = []

    def load(size: int = 16) -> None:
        decoded.clear()
        load_images(manifest, size, tmp_path / "x.npy", lambda _p, done, _t: decoded.append(done))

    load()
    assert decoded
    load()
    assert not decoded
    path = manifest.image_path(manifest.items[5])
    os.utime(path, ns=(1, 1))
    load()
    assert decoded
    load(size=24)
    assert decoded


def test_broken_and_missing_files_are_named(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = read_manifest(make_manifest())
    broken = manifest.image_path(manifest.items[7])
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(InputError, match=broken.name) as caught:
        load_images(manifest, 16, tmp_path / "x.npy", silent)
    assert "data check" in caught.value.hint
    broken.unlink()
    with pytest.raises(InputError, match=f"{broken.name}: No such file"):
        load_images(manifest, 16, tmp_path / "x.npy", silent)


def test_interrupted_decoding_leaves_no_cache_behind(tmp_path: Path) -> None:
    manifest = Manifest(("a",), tmp_path, (Item("none.png", "d"),))
    (tmp_path / "none.png").write_bytes(b"")
    with pytest.raises(InputError):
        load_images(manifest, 16, tmp_path / "x.npy", silent)
    assert not (tmp_path / "x.key").exists()
