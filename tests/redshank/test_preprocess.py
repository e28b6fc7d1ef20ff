import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from redshank.http_api import ERRORS
from redshank.preprocess import (
    ImageArray,
    ImageError,
    ImageTooLargeError,
    InvalidImageError,
    UnsupportedFormatError,
    decode_image,
)


def picture(height: int = 24, width: int = 40) -> ImageArray:
    """Smooth, coloured, without any symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (255 * x / width, 255 * y / height, 255 * (x + 2 * y) / (width + 2 * height))
    return np.stack(planes, axis=-1).astype(np.uint8)


def encoded(
    image: Image.Image, kind: str = "PNG", *, exif: Image.Exif | None = None, quality: int = 95
) -> bytes:
    buffer = io.BytesIO()
    if exif is None:
        image.save(buffer, kind, quality=quality)
    else:
        image.save(buffer, kind, quality=quality, exif=exif)
    return buffer.getvalue()


def png(width: int, height: int, data: bytes = b"no deflate stream") -> bytes:
    """A PNG whose header promises 8-bit grey width x height, with any pixel data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(k, b) for k, b in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_formats_of_the_wanted_size_come_back_bit_for_bit(kind: str) -> None:
    image = picture()
    decoded = decode_image(encoded(Image.fromarray(image), kind), 24, 40)
    np.testing.assert_array_equal(decoded, image)
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_come_back_close(kind: str) -> None:
    image = picture()
    decoded = decode_image(encoded(Image.fromarray(image), kind), 24, 40)
    assert np.abs(decoded.astype(int) - image).mean() < 3


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_undone(turn: int) -> None:
    upright = picture(32, 48)
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(Image.fromarray(np.ascontiguousarray(turned)), "PNG", exif=exif)
    np.testing.assert_array_equal(decode_image(data, 32, 48), upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_broken_exif_is_no_reason_to_refuse() -> None:
    data = encoded(Image.fromarray(picture()), "JPEG")
    segment = b"Exif\0\0MM\0*\xff\xff\xff\xff"
    broken = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    assert decode_image(broken, 24, 40).shape == (24, 40, 3)


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert decode_image(encoded(clear), 8, 8).min() == 255
    half = Image.new("LA", (8, 8), (0, 128))
    assert decode_image(encoded(half), 8, 8).mean() == pytest.approx(127, abs=1)
    keyed = Image.new("P", (8, 8), 1)
    keyed.putpalette([0, 0, 0, 255, 0, 0])
    buffer = io.BytesIO()
    keyed.save(buffer, "PNG", transparency=1)
    assert decode_image(buffer.getvalue(), 8, 8).min() == 255


def test_palette_grey_bitmap_and_wide_samples_become_rgb() -> None:
    colour = Image.new("P", (8, 8), 1)
    colour.putpalette([0, 0, 0, 255, 0, 0])
    assert decode_image(encoded(colour), 4, 4)[0, 0].tolist() == [255, 0, 0]
    assert decode_image(encoded(Image.new("L", (8, 8), 77)), 4, 4)[0, 0].tolist() == [77] * 3
    assert decode_image(encoded(Image.new("1", (8, 8), 1)), 4, 4)[0, 0].tolist() == [255] * 3
    wide = np.full((8, 8), 0x4D12, np.uint16)
    assert decode_image(encoded(Image.fromarray(wide)), 4, 4)[0, 0].tolist() == [0x4D] * 3


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("RGB", (16, 16), (200, 0, 0)).convert("CMYK")
    pixel = decode_image(encoded(red, "JPEG"), 8, 8)[4, 4].astype(int)
    assert np.abs(pixel - (200, 0, 0)).max() < 12


def test_the_first_picture_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (8, 8), shade) for shade in ("red", "lime")]
    for kind in ("PNG", "WEBP"):
        buffer = io.BytesIO()
        frames[0].save(
            buffer, kind, save_all=True, append_images=frames[1:], duration=9, lossless=True
        )
        assert decode_image(buffer.getvalue(), 8, 8)[4, 4].tolist() == [255, 0, 0]


def test_multi_picture_jpeg_is_read() -> None:
    frames = [Image.new("RGB", (16, 16), shade) for shade in ("white", "black")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "MPO", save_all=True, append_images=frames[1:])
    assert decode_image(buffer.getvalue(), 8, 8).min() > 250


def test_scaled_decoding_is_close_to_full_decoding() -> None:
    noise = np.random.default_rng(0).normal(0, 6, (960, 1280, 3))
    photo = Image.fromarray((picture(960, 1280) + noise).clip(0, 255).astype(np.uint8))
    data = encoded(photo, "JPEG", quality=90)
    full = Image.open(io.BytesIO(data)).resize((64, 64), Image.Resampling.BILINEAR)
    decoded = decode_image(data, 64, 64).astype(int)
    assert np.abs(decoded - np.asarray(full).astype(int)).max() <= 4


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "invalid_image"),
        (b'{"image": 1}', "invalid_image"),
        (b"\x89PNG\r\n\x1a\n", "invalid_image"),
        (b"\xff\xd8\xff", "invalid_image"),
        (b"GIF89a" + bytes(40), "unsupported_format"),
        (b"II*\0" + bytes(40), "unsupported_format"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "unsupported_format"),
        (png(13_000, 13_000), "image_too_large"),
        (png(2**31 - 1, 2**31 - 1), "image_too_large"),
        (png(8, 8), "invalid_image"),
    ],
)
def test_bad_bytes_have_a_code_that_clients_know(data: bytes, code: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(data, 32, 32)
    assert caught.value.code == code
    assert code in ERRORS
    assert caught.value.message


def test_limit_is_checked_before_decoding() -> None:
    data = png(400, 400)
    with pytest.raises(ImageTooLargeError, match="400 x 400 = 160000"):
        decode_image(data, 32, 32, max_pixels=400 * 400 - 1)
    with pytest.raises(InvalidImageError):
        decode_image(data, 32, 32, max_pixels=400 * 400)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_truncated_anywhere_is_refused_with_an_image_error(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (24, 40, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    for share in (0.02, 0.2, 0.5, 0.8):
        with pytest.raises(InvalidImageError):
            decode_image(data[: int(len(data) * share)], 32, 32)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_never_raises_another_error() -> None:
    rng = np.random.default_rng(2)
    originals = [encoded(Image.fromarray(picture()), k) for k in ("JPEG", "PNG", "WEBP", "BMP")]
    refused = 0
    for trial in range(400):
        data = bytearray(originals[trial % 4])
        for place in rng.integers(0, len(data), 8):
            data[place] = rng.integers(256)
        try:
            assert decode_image(bytes(data), 16, 16).shape == (16, 16, 3)
        except ImageError:
            refused += 1
    assert 100 < refused < 400


def test_scan_bomb_is_refused() -> None:
    data = encoded(Image.fromarray(picture()), "JPEG")
    with pytest.raises(InvalidImageError, match="scans"):
        decode_image(data + b"\xff\xda" * 101, 32, 32)


def test_other_formats_are_named() -> None:
    with pytest.raises(UnsupportedFormatError, match="GIF") as caught:
        decode_image(encoded(Image.fromarray(picture()), "GIF"), 8, 8)
    assert "PNG" in caught.value.hint


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_decoding_that_takes_too_long_is_given_up(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert len(data) > 64 * 1024
    with pytest.raises(ImageTooLargeError, match="takes longer than 0 s"):
        decode_image(data, 32, 32, max_s=0.0)
    assert np.array_equal(decode_image(data, 32, 32, max_s=60.0), decode_image(data, 32, 32))
