from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from redshank.dataset import Manifest, read_manifest
from redshank.errors import ConflictError, InputError
from redshank.run import read_history
from training import streamed
from training.images import Images, Progress, decode_file, load_images
from training.streamed import StreamedImages
from training.train import train

from .conftest import SMALL, MakeManifest

BYTES = 3 * 16 * 16
SILENT: Progress = lambda _phase, _done, _total: None  # noqa: E731
STREAM = dataclasses.replace(SMALL, pixels="stream", pixels_memory_mb=1)


@pytest.fixture
def manifest(make_manifest: MakeManifest) -> Manifest:
    return read_manifest(make_manifest())


def test_gives_the_pixels_of_the_cache_and_keeps_few(manifest: Manifest, tmp_path: Path) -> None:
    cached = torch.from_numpy(load_images(manifest, 16, tmp_path / "x.npy", SILENT))
    images = StreamedImages(manifest, 16, limit_bytes=10 * BYTES)
    assert len(images) == len(cached)
    for numbers in ([3, 1, 3, 40], list(range(25)), [], [24, 0]):
        index = torch.tensor(numbers, dtype=torch.int64)
        assert torch.equal(images[index], cached[index])
        assert images.kept <= 10


def test_what_was_used_last_is_not_decoded_again(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def counted(place: Path, size: int) -> Images:
        decoded.append(place.name)
        return decode_file(place, size)

    monkeypatch.setattr(streamed, "decode_file", counted)
    images = StreamedImages(manifest, 16, limit_bytes=3 * BYTES)
    for numbers in ([0, 1, 2], [0, 0], [3], [0], [1]):
        images[torch.tensor(numbers)]
    names = [manifest.items[number].path for number in (0, 1, 2, 3, 1)]
    assert sorted(decoded) == sorted(names)
    assert images.kept == 3


def test_training_is_the_same_as_from_the_cache(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    manifest = make_manifest()
    cached = train(manifest, SMALL, tmp_path / "cached")
    stream = train(manifest, STREAM, tmp_path / "stream")
    losses = [[row.loss for row in read_history(run)] for run in (cached, stream)]
    assert losses[0] == losses[1]
    weights = [(run / "model.safetensors").read_bytes() for run in (cached, stream)]
    assert weights[0] == weights[1]


def test_broken_images_are_named(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest()
    broken = manifest.parent / "north-2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(InputError, match=r"north-2\.png"):
        train(manifest, STREAM, tmp_path)
    (work,) = tmp_path.iterdir()
    assert not (work / "images.npy").exists()
    broken.unlink()
    with pytest.raises(InputError, match=r"north-2\.png"):
        train(manifest, STREAM, tmp_path)


def test_resume_refuses_changed_images(make_manifest: MakeManifest, tmp_path: Path) -> None:
    manifest = make_manifest()
    with pytest.raises(RuntimeError, match="stop"):
        train(manifest, STREAM, tmp_path, progress=_stop)
    first, second = manifest.parent / "north-0.png", manifest.parent / "north-1.png"
    first.write_bytes(second.read_bytes() + b"more")
    with pytest.raises(ConflictError, match="changed"):
        train(manifest, STREAM, tmp_path, resume=True)


def _stop(_phase: str, done: int, _total: int) -> None:
    if done == 5:
        raise RuntimeError("stop")
