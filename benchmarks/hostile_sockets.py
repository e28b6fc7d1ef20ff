"""Clients that break the rules below HTTP: half bodies, false lengths, drops of one byte."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from .hostile_bodies import FORMATS, PREDICT, real_image

PATIENCE_S = 30.0


@dataclass(frozen=True)
class Wire:
    """What goes over one connection, piece by piece."""

    kind: str
    pieces: tuple[bytes, ...]
    pause_s: float = 0.0
    """Between pieces."""
    hang_up: bool = False
    """Close without waiting for an answer."""


def wires(seed: int) -> Iterator[Wire]:
    """Connections without end, every kind in turn."""
    generator = random.Random(seed)
    while True:
        image = real_image(generator.choice(FORMATS), generator)
        half = image[: len(image) // 2]
        yield Wire("half a body, hung up", (_head(len(image)), half), hang_up=True)
        yield Wire("hung up after the head", (_head(10**6),), hang_up=True)
        yield Wire("length too short", (_head(len(half)) + image,))
        yield Wire("length beyond the limit", (_head(10**12) + half,))
        yield Wire("length no number", (_head("ten") + image,))
        yield Wire("two lengths", (_head(5, "Content-Length: 7") + image,))
        yield Wire("chunks of garbage", (_chunked() + b"zz\r\n" + image,))
        yield Wire(
            "endless chunks", (_chunked(), *([b"fff\r\n" + bytes(4095) + b"\r\n"] * 40)), 0, True
        )
        yield Wire("no HTTP at all", (generator.randbytes(200) + b"\r\n\r\n",))
        yield Wire(
            "headers without end", (_line(), *([b"X-A: " + b"a" * 4000 + b"\r\n"] * 30)), 0, True
        )
        drops = tuple(image[n : n + 1] for n in range(min(20, len(image))))
        yield Wire("one byte at a time", (_head(len(image)), *drops), 0.05, True)


def send(port: int, wire: Wire) -> int:
    """The status of the answer; 0 where none came or none was waited for."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as client:
        client.settimeout(PATIENCE_S)
        for piece in wire.pieces:
            client.sendall(piece)
            if wire.pause_s:
                time.sleep(wire.pause_s)
        if wire.hang_up:
            return 0
        words = client.recv(64).split()
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return 0


def _line() -> bytes:
    return f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n".encode()


def _head(length: int | str, *more: str) -> bytes:
    lines = [f"Content-Length: {length}", "Connection: close", *more]
    return _line() + "\r\n".join(lines).encode() + b"\r\n\r\n"


def _chunked() -> bytes:
    return _line() + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
