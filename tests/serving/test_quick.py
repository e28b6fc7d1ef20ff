from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from serving.quick import MOST_BYTES, is_quick


def encoded(kind: str, side: tuple[int, int] = (32, 32), **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(side, 60).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_small_pictures_are_quick_and_large_ones_are_not(kind: str) -> None:
    assert is_quick(encoded(kind))
    assert not is_quick(encoded(kind)[:20])
    assert not is_quick(encoded(kind) + bytes(MOST_BYTES))
    buffer = io.BytesIO()
    Image.new("RGB", (300, 300)).save(buffer, kind)
    assert len(buffer.getvalue()) < MOST_BYTES
    assert not is_quick(buffer.getvalue())


@pytest.mark.parametrize(
    "change",
    [
        lambda png: png[:33] + chunk(b"IHDR", struct.pack(">IIBBBBB", 9999, 9999, 8, 2, 0, 0, 0)),
        lambda png: png[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6))) + png[33:],
        lambda png: png[:33] + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**6))) + png[33:],
        lambda png: png[:8] + chunk(b"tEXt", b"a\0b") + png[8:],
    ],
)
def test_whatever_makes_a_png_slow_is_not_quick(change: Callable[[bytes], bytes]) -> None:
    assert not is_quick(change(encoded("PNG")))


def test_whatever_makes_a_jpeg_slow_is_not_quick() -> None:
    plain = encoded("JPEG")
    assert not is_quick(encoded("JPEG", progressive=True))
    start = plain.index(b"\xff\xc0")
    frame = plain[start : start + 19]
    assert not is_quick(plain[:start] + frame + plain[start:])  # two frames
    large = frame[:5] + struct.pack(">HH", 9999, 9999) + frame[9:]
    assert not is_quick(plain[:start] + large + plain[start + 19 :])
    assert not is_quick(plain[:2] + b"\xff\xe0\xff\xff" + plain[2:])  # a length that leads away


@pytest.mark.parametrize("data", [b"", b"no image", encoded("BMP"), encoded("WEBP"), b"\xff\xd8"])
def test_everything_else_is_not_quick(data: bytes) -> None:
    assert not is_quick(data)
