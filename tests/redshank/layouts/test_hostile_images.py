"""What field folders hold, as the check sees it: read, or broken for a reason."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from redshank.dataset import Item, Manifest
from redshank.errors import StageError
from redshank.image_bytes import Location
from redshank.layouts.census import inspect_images
from redshank.preprocess import decode_image

GRADIENT = np.linspace(0, 255, 40 * 60 * 3).reshape(40, 60, 3).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rgb() -> Image.Image:
    return Image.fromarray(GRADIENT)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(rgb(), "JPEG", exif=exif)


def animated(kind: str) -> bytes:
    return encoded(rgb(), kind, save_all=True, append_images=[rgb().rotate(180)])


def huge_header() -> bytes:
    """A PNG that promises 8,000 x 8,000 pixels in 60 bytes."""
    data = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    data[16:24] = (8_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


READ: dict[str, Callable[[], bytes]] = {
    "grey.png": lambda: encoded(rgb().convert("L"), "PNG"),
    "cmyk.jpg": lambda: encoded(rgb().convert("CMYK"), "JPEG"),
    "sixteen_bit.png": lambda: encoded(
        Image.fromarray(GRADIENT[..., 0].astype(np.uint16) * 257), "PNG"
    ),
    "palette.png": lambda: encoded(rgb().convert("P"), "PNG"),
    "transparent.webp": lambda: encoded(rgb().convert("RGBA"), "WEBP"),
    "turned.jpg": turned,
    "png_inside.jpg": lambda: encoded(rgb(), "PNG"),
    "animated.webp": lambda: animated("WEBP"),
    "animated.png": lambda: animated("PNG"),
}
BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "zero.jpg": (bytes, "the 0 bytes are not an image"),
    "cut.jpg": (lambda: encoded(rgb(), "JPEG")[:-60], "JPEG image is damaged"),
    "cut.png": (lambda: encoded(rgb(), "PNG")[:-40], "PNG image is damaged"),
    "text.jpg": (lambda: b"<html>404</html>", "are not an image"),
    "animated.gif": (lambda: animated("GIF"), "of format GIF"),
    "scan.tif": (lambda: encoded(rgb(), "TIFF"), "of format TIFF"),
    "huge.png": (huge_header, "8000 x 8000"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, make in READ.items():
        (tmp_path / name).write_bytes(make())
    for name, (make, _) in BROKEN.items():
        (tmp_path / name).write_bytes(make())
    return tmp_path


def check(root: Location, *names: str) -> dict[str, str]:
    manifest = Manifest((), root, tuple(Item(name, "site") for name in names))
    broken, _ = inspect_images(manifest, lambda data: decode_image(data, 16, 16))
    return {one.path: one.reason for one in broken}


def test_odd_images_are_read_and_broken_ones_have_a_reason(folder: Path) -> None:
    found = check(folder, *READ, *BROKEN)
    assert list(found) == list(BROKEN)
    for name, (_, reason) in BROKEN.items():
        assert reason in found[name]


def test_images_by_uri_get_the_same_answers(folder: Path) -> None:
    system = fsspec.filesystem("memory")
    names = (*READ, *BROKEN)
    system.pipe({f"/hostile/{name}": (folder / name).read_bytes() for name in names})
    try:
        assert check("memory://hostile", *names) == check(folder, *names)
        assert check("memory://hostile", "gone.jpg") == {"gone.jpg": "no such file"}
        assert check(folder, f"memory://hostile/{names[0]}", names[1]) == {}
    finally:
        system.rm("/hostile", recursive=True)


def test_names_that_are_no_files_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("gone.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert check(tmp_path, "folder.jpg", "link.jpg", "pipe.jpg", "gone.jpg") == {
        "folder.jpg": "is a folder",
        "link.jpg": "no such file or directory",
        "pipe.jpg": "neither a file nor a folder",
        "gone.jpg": "no such file or directory",
    }


def test_a_file_that_may_not_be_read_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(READ["grey.png"]())
    real = os.open

    def refuse(path: object, *rest: int) -> int:
        if str(path).endswith("a.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(str(path), *rest)

    monkeypatch.setattr(os, "open", refuse)
    assert check(tmp_path, "a.png") == {"a.png": "permission denied"}


def test_bytes_that_changed_since_they_were_listed_are_broken(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(READ["grey.png"]())
    manifest = Manifest((), tmp_path, (Item("a.png", "site", sha256="0" * 64),))
    broken, _ = inspect_images(manifest, lambda data: decode_image(data, 16, 16))
    assert "changed after it was listed" in broken[0].reason


def test_a_storage_that_is_not_there_ends_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(_self: object, _path: str) -> bytes:
        raise ConnectionResetError("connection reset")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", dead)
    monkeypatch.setattr("redshank.remote.FIRST_PAUSE_S", 0.001)
    with pytest.raises(StageError, match="could not be reached in 4 attempts"):
        check("memory://hostile", "a.jpg", "b.jpg")
