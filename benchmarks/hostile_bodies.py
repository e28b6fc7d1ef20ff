"""Uploads that mean harm, or come from broken cameras: endless, and equal for equal seeds."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
PREDICT = "/v1/predict"


@dataclass(frozen=True)
class Attack:
    """One request."""

    kind: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    path: str = PREDICT
    method: str = "POST"


def attacks(seed: int) -> Iterator[Attack]:
    """Requests without end, every kind in turn."""
    generator = random.Random(seed)
    originals = [real_image(kind, generator) for kind in FORMATS for _ in range(4)]
    makers = tuple(MAKERS.items())
    number = 0
    while True:
        kind, make = makers[number % len(makers)]
        yield make(kind, generator, generator.choice(originals))
        number += 1


def real_image(kind: str, generator: random.Random) -> bytes:
    """A small picture of noise, of random mode and size, in one format."""
    mode = generator.choice(["RGB", "L", "P"] if kind in ("PNG", "GIF", "BMP", "TIFF") else ["RGB"])
    size = generator.randint(2, 60), generator.randint(2, 60)
    noise = generator.randbytes(size[0] * size[1])
    image = Image.frombytes("L", size, noise).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _bytes_changed(kind: str, generator: random.Random, image: bytes) -> Attack:
    data = bytearray(image)
    for _ in range(generator.randint(1, 12)):
        data[generator.randrange(len(data))] = generator.randrange(256)
    return Attack(kind, bytes(data))


def _header_lies(kind: str, generator: random.Random, image: bytes) -> Attack:
    """Numbers within the first bytes, where sizes and depths stand, take extreme values."""
    data = bytearray(image)
    place = generator.randrange(4, max(5, min(48, len(data) - 4)))
    extreme = generator.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
    data[place : place + 4] = struct.pack(generator.choice("<>") + "I", extreme)
    return Attack(kind, bytes(data))


def _cut_off(kind: str, generator: random.Random, image: bytes) -> Attack:
    return Attack(kind, image[: generator.randrange(len(image))])


def _spliced(kind: str, generator: random.Random, image: bytes) -> Attack:
    other = real_image(generator.choice(FORMATS), generator)
    return Attack(kind, image[: generator.randrange(len(image))] + other)


def _noise(kind: str, generator: random.Random, image: bytes) -> Attack:
    magic = image[: generator.choice([0, 2, 4, 8, 12])]
    return Attack(kind, magic + generator.randbytes(generator.randrange(4000)))


def _bomb(kind: str, generator: random.Random, _image: bytes) -> Attack:
    """A PNG that claims up to 60,000 pixels a side; its rows may be there, deflated, or not."""
    side = generator.choice([2_000, 8_000, 13_000, 60_000])
    rows = zlib.compress(bytes(generator.choice([1_000, 1_000_000])), 1)
    depth, colour = generator.choice([(8, 2), (16, 6), (1, 0), (8, 3)])
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    return Attack(kind, b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))


def _text_bomb(kind: str, _generator: random.Random, _image: bytes) -> Attack:
    """A small PNG with a compressed text chunk that unfolds to megabytes."""
    text = b"comment\0\0" + zlib.compress(bytes(4_000_000), 1)
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(8 * 25))
    chunks = [(b"IHDR", header), (b"zTXt", text), (b"IDAT", rows), (b"IEND", b"")]
    return Attack(kind, b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks))


def _chunk(name: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + body))
    return struct.pack(">I", len(body)) + name + body + checksum


def _odd_domain(kind: str, generator: random.Random, image: bytes) -> Attack:
    names = (
        "x" * generator.randint(65, 4000), "../../etc/passwd", "a b", "", "%00", "ä" * 9, '"};drop',
        "{domain}", f"site-{generator.randrange(10**9)}", "\x7f", "-", "nul\tl",
    )  # fmt: skip
    return Attack(kind, image, {"X-Domain": generator.choice(names)})


def _odd_ids(kind: str, generator: random.Random, image: bytes) -> Attack:
    values = ("", "x" * 5000, "<script>", "\x01\x02", "ÿ" * 40, "0" * 65, "-1", "NaN", "1e309")
    names = ("X-Request-ID", "X-Sequence-Id", "X-Client-Id", "X-Deadline-Ms", "Authorization")
    chosen = generator.sample(names, 3)
    return Attack(kind, image, {name: generator.choice(values) for name in chosen})


def _odd_type(kind: str, generator: random.Random, image: bytes) -> Attack:
    types = ("multipart/form-data", "multipart/form-data; boundary=", "application/json", "ÿ",
             "multipart/form-data; boundary=" + "b" * 3000, "image/" + "x" * 500)  # fmt: skip
    return Attack(kind, image, {"Content-Type": generator.choice(types)})


def _broken_form(kind: str, generator: random.Random, image: bytes) -> Attack:
    mark = b"--mark\r\n"
    part = b'Content-Disposition: form-data; name="image"; filename="../x"\r\n\r\n'
    bodies = (
        mark + part + image, mark + part + image + b"\r\n--mark--", mark * 400, part + image,
        mark + b"Content-Disposition: form-data\r\n\r\n" + image + b"\r\n--mark--\r\n",
        (mark + part + image + b"\r\n") * 30 + b"--mark--\r\n", b"--mark--\r\n",
    )  # fmt: skip
    headers = {"Content-Type": "multipart/form-data; boundary=mark"}
    path = generator.choice([PREDICT, "/v1/predict/batch"])
    return Attack(kind, generator.choice(bodies), headers, path)


def _json_where_bytes_belong(kind: str, generator: random.Random, _image: bytes) -> Attack:
    depth = generator.choice([1, 50, 5_000])
    bodies = (b"[" * depth, b'{"inputs": 3}', b'{"inputs": [{}]}', b"null",
              b'{"image_base64": "@@"}', b'{"image_base64": 1e999}',
              b'{"inputs": [{"name": "image", "shape": [-1], '
              b'"datatype": "BYTES", "data": ["AAAA"]}]}')  # fmt: skip
    paths = ("/predict", "/v2/models/default/infer", "/v1/predict/batch", PREDICT)
    headers = {"Content-Type": "application/json"}
    return Attack(kind, generator.choice(bodies), headers, generator.choice(paths))


def _odd_address(kind: str, generator: random.Random, image: bytes) -> Attack:
    paths = ("/v1/predict/", "//", "/v1/predict%00", "/..%2f..%2fetc/passwd", "/v2/models/%ff",
             "/v2/models/" + "m" * 3000, "/metrics/x", "/admin", "/v1/models/../..",
             f"/{generator.randrange(10**9)}",
             "/v1/predict?domain=%ff&x=" + "y" * 2000)  # fmt: skip
    methods = ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "GET", "QUERY")
    return Attack(kind, image, {}, generator.choice(paths), generator.choice(methods))


MAKERS: dict[str, Callable[[str, random.Random, bytes], Attack]] = {
    "bytes changed": _bytes_changed,
    "header lies": _header_lies,
    "cut off": _cut_off,
    "spliced": _spliced,
    "noise": _noise,
    "pixel bomb": _bomb,
    "text bomb": _text_bomb,
    "odd domain": _odd_domain,
    "odd ids": _odd_ids,
    "odd content type": _odd_type,
    "broken form": _broken_form,
    "JSON": _json_where_bytes_belong,
    "odd address": _odd_address,
}
