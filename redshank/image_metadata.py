"""Take the metadata out of image files without touching their pixels.

JPEG and PNG containers are rewritten segment by segment; of their metadata only the orientation
stays, because without it the picture would lie on its side. Anything behind the end of the picture
(motion photos, second pictures) goes too. Other formats are re-encoded as PNG, losslessly.
"""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image, ImageOps

from redshank.errors import InputError

_JPEG_START = b"\xff\xd8"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD"}
)
_ORIENTATION_TAG = 0x0112
_SCAN, _END, _JFIF, _EXIF, _ADOBE, _COMMENT = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE, 0xFE


def strip_metadata(data: bytes) -> tuple[bytes, str]:
    """The picture without metadata, and the file suffix that fits (`.jpg` or `.png`).

    Args:
        data: the bytes of an image that Pillow can open.

    Raises:
        InputError: the bytes are no readable image.
    """
    try:
        if data.startswith(_JPEG_START):
            return _strip_jpeg(data), ".jpg"
        if data.startswith(_PNG_START):
            return _strip_png(data), ".png"
    except (IndexError, struct.error, _UnusualContainerError):
        pass
    return _encode_again(data), ".png"


class _UnusualContainerError(Exception):
    """A container that this module does not walk through; its pixels are encoded again."""


def _strip_jpeg(data: bytes) -> bytes:
    kept = [_JPEG_START]
    orientation = _orientation(data)
    if orientation != 1:
        body = _exif(orientation)
        kept.append(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body)
    position = len(_JPEG_START)
    while True:
        if data[position] != 0xFF:
            raise _UnusualContainerError
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == _END:
            return b"".join([*kept, b"\xff\xd9"])
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if length < 2 or end > len(data):
            raise _UnusualContainerError
        segment = data[position:end]
        if marker == _SCAN:
            end = _end_of_scan(data, end)
            segment = data[position:end]
        if segment := _kept_segment(marker, segment):
            kept.append(segment)
        position = end


def _kept_segment(marker: int, segment: bytes) -> bytes:
    """What stays of one segment; application data and comments go."""
    if marker == _JFIF and segment[4:9] == b"JFIF\0":
        return b"\xff\xe0\x00\x10" + segment[4:16] + b"\0\0"  # without its thumbnail
    if marker == _ADOBE and segment[4:9] == b"Adobe":
        return segment  # tells how the colours are coded
    return b"" if 0xE0 <= marker <= 0xEF or marker == _COMMENT else segment


def _end_of_scan(data: bytes, position: int) -> int:
    """Where the entropy-coded bytes end: at a marker that is no restart and no stuffed 0xFF."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            raise _UnusualContainerError
        follower = data[position + 1]
        if follower not in (0x00, 0xFF) and not 0xD0 <= follower <= 0xD7:
            return position
        position += 1 if follower == 0xFF else 2


def _strip_png(data: bytes) -> bytes:
    kept = [_PNG_START]
    position = len(_PNG_START)
    while True:
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _UnusualContainerError
        if name in _PNG_KEPT:
            kept.append(data[position:end])
        if name == b"IHDR" and (orientation := _orientation(data)) != 1:
            kept.append(_png_chunk(b"eXIf", _exif(orientation).removeprefix(b"Exif\0\0")))
        if name == b"IEND":
            return b"".join(kept)
        position = end


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _orientation(data: bytes) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken metadata do not make the pixels wrong
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = orientation
    return exif.tobytes()


def _encode_again(data: bytes) -> bytes:
    try:
        with Image.open(io.BytesIO(data)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode not in ("L", "LA", "RGB", "RGBA", "I;16"):
                upright = upright.convert("RGBA" if "transparency" in upright.info else "RGB")
            plain = Image.frombytes(upright.mode, upright.size, upright.tobytes())
    except Exception as error:  # Pillow meets hostile bytes with many types
        raise InputError(f"the {len(data)} bytes are not a readable image: {error}") from error
    buffer = io.BytesIO()
    plain.save(buffer, format="PNG")
    return buffer.getvalue()
