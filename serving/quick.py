"""Images whose decoding takes well under a millisecond, known from their first bytes.

Only these may be decoded on the event loop. What is a small PNG or baseline JPEG here is one for
Pillow, too: whatever can make decoding long (a second header, progressive scans, compressed
texts and profiles) is not quick, and goes to the inference thread.
"""

from __future__ import annotations

MOST_BYTES = 64 * 1024
MOST_PIXELS = 64 * 1024
_PNG = b"\x89PNG\r\n\x1a\n"
_BASELINE, _SCAN = 0xC0, 0xDA
_OTHER_FRAMES = frozenset(range(0xC1, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start of a frame that is not baseline; the three left out are tables."""


def is_quick(data: bytes) -> bool:
    """Whether decoding these bytes, good or bad, cannot take long."""
    if len(data) > MOST_BYTES:
        return False
    if data.startswith(_PNG):
        return _is_quick_png(data)
    return data.startswith(b"\xff\xd8") and _is_quick_jpeg(data)


def _is_quick_png(data: bytes) -> bool:
    if len(data) < 33 or data[12:16] != b"IHDR" or data.find(b"IHDR", 16) >= 0:
        return False
    pixels = int.from_bytes(data[16:20]) * int.from_bytes(data[20:24])
    # texts and profiles that are compressed (zTXt, iTXt, iCCP), animations (acTL, fcTL): wherever
    # they lie, a decoder that lost its place may read them
    slow = b"TXt" in data or b"iCCP" in data or b"cTL" in data
    return pixels <= MOST_PIXELS and not slow


def _is_quick_jpeg(data: bytes) -> bool:
    """Walk the segments up to the first scan: one baseline frame of few pixels and nothing odd."""
    at, frames = 2, 0
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _SCAN:
            return frames == 1 and data.count(b"\xff\xda") == 1
        if marker in _OTHER_FRAMES:
            return False
        if marker == _BASELINE:
            frames += 1
            pixels = int.from_bytes(data[at + 5 : at + 7]) * int.from_bytes(data[at + 7 : at + 9])
            if pixels > MOST_PIXELS:
                return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return False
