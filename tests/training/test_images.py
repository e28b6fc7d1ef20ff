from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from redshank.dataset import Item, Manifest, read_manifest
from redshank.errors import ConflictError, InputError, StageError
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


def test_cache_is_used_again_and_refused_when_a_file_changed(
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
    with pytest.raises(ConflictError, match="images changed"):
        load()
    with pytest.raises(ConflictError, match="images changed"):
        load(size=24)
    assert not decoded


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


def test_full_disk_is_said_before_anything_is_decoded(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int, _start: int, length: int) -> None:
        assert length == (tmp_path / "x.npy").stat().st_size > 60 * 16 * 16 * 3
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StageError, match="No space left on device: 60 decoded images"):
        load_images(read_manifest(make_manifest()), 16, tmp_path / "x.npy", silent)
    assert list(tmp_path.iterdir()) == []


def test_disk_without_room_for_the_file_at_all_is_said_as_well(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest, limits = read_manifest(make_manifest()), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StageError, match="File too large: 60 decoded images take"):
            load_images(manifest, 16, tmp_path / "x.npy", silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_work_waits_in_bounded_portions(
    make_manifest: MakeManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(make_manifest())
    whole = load_images(manifest, 16, tmp_path / "x.npy", silent)
    monkeypatch.setattr("training.images.WAITING", 7)
    seen: list[int] = []
    portions = load_images(manifest, 16, tmp_path / "y.npy", lambda _p, done, _t: seen.append(done))
    assert seen == list(range(1, 61))
    assert np.array_equal(whole, portions)


def test_interrupted_decoding_leaves_no_cache_behind(tmp_path: Path) -> None:
    manifest = Manifest(("a",), tmp_path, (Item("none.png", "d"),))
    (tmp_path / "none.png").write_bytes(b"")
    with pytest.raises(InputError):
        load_images(manifest, 16, tmp_path / "x.npy", silent)
    assert not (tmp_path / "x.key").exists()
