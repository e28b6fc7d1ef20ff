from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from redshank.errors import InputError
from redshank.image_metadata import strip_metadata

SECRET = b"52.5200N 13.4050E"


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def exif(orientation: int) -> Image.Exif:
    values = Image.Exif()
    values[0x0112] = orientation
    values[0x010E] = SECRET.decode()
    return values


def upright(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_keeps_pixels_and_orientation_only(orientation: int, progressive: bool) -> None:
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG", exif=exif(orientation), comment=SECRET, progressive=progressive)
    original = buffer.getvalue() + SECRET  # a motion photo's tail
    clean, suffix = strip_metadata(original)
    assert suffix == ".jpg"
    assert SECRET in original
    assert SECRET not in clean
    assert np.array_equal(upright(clean), upright(original))


def test_cmyk_jpeg_keeps_its_colours() -> None:
    buffer = io.BytesIO()
    picture().convert("CMYK").save(buffer, "JPEG", exif=exif(1))
    clean, _ = strip_metadata(buffer.getvalue())
    assert np.array_equal(upright(clean), upright(buffer.getvalue()))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "L"])
def test_png_keeps_pixels_and_orientation_only(orientation: int, mode: str) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", SECRET.decode())
    buffer = io.BytesIO()
    picture().convert(mode).save(buffer, "PNG", exif=exif(orientation), pnginfo=text)
    clean, suffix = strip_metadata(buffer.getvalue())
    assert suffix == ".png"
    assert SECRET in buffer.getvalue()
    assert SECRET not in clean
    assert np.array_equal(upright(clean), upright(buffer.getvalue()))


@pytest.mark.parametrize("kind", ["WEBP", "BMP"])
def test_other_formats_are_encoded_again_without_loss(kind: str) -> None:
    buffer = io.BytesIO()
    options = {"exif": exif(6), "lossless": True} if kind == "WEBP" else {}
    picture().save(buffer, kind, **options)
    clean, suffix = strip_metadata(buffer.getvalue())
    assert suffix == ".png"
    assert SECRET not in clean
    assert np.array_equal(upright(clean), upright(buffer.getvalue()))


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\xff", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="not a readable image"):
        strip_metadata(data)
