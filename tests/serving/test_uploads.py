from __future__ import annotations

import asyncio
import io
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.types import Message, Receive, Scope, Send

from redshank.events import iter_spool
from serving import edge, exchange
from serving.routes import build_app

StartClient = Callable[..., Any]
ErrorOf = Callable[[Any], dict[str, Any]]


def bomb_png(side: int) -> bytes:
    """A PNG of `side` x `side` pixels whose rows are all zero: tiny on the wire."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def hostile() -> Iterator[tuple[str, bytes, str]]:
    good = io.BytesIO()
    Image.effect_noise((200, 200), 90).convert("RGB").save(good, "JPEG")
    gif, tiff = io.BytesIO(), io.BytesIO()
    Image.new("L", (4, 4)).save(gif, "GIF")
    Image.new("L", (4, 4)).save(tiff, "TIFF")
    yield "empty", b"", "bad_request"
    yield "text", b"hello", "invalid_image"
    yield "json", b'{"image": 1}', "invalid_image"
    yield "truncated", good.getvalue()[: len(good.getvalue()) // 2], "invalid_image"
    yield "header only", good.getvalue()[:20], "invalid_image"
    yield "torn rows", bomb_png(300), "invalid_image"
    yield "bomb", bomb_png(13000), "image_too_large"
    yield "huge bomb", bomb_png(60000), "image_too_large"
    yield "gif", gif.getvalue(), "unsupported_format"
    yield "tiff", tiff.getvalue(), "unsupported_format"


@pytest.mark.parametrize(("name", "data", "code"), list(hostile()), ids=[h[0] for h in hostile()])
def test_hostile_bodies_are_refused_by_name(
    start: StartClient, name: str, data: bytes, code: str, error_of: ErrorOf
) -> None:
    client, _ = start()
    for kind in ("image/jpeg", "application/json", "text/plain; charset=utf-8", "nonsense"):
        response = client.post("/v1/predict", content=data, headers={"content-type": kind})
        assert error_of(response)["code"] == code, (name, kind)


def test_damaged_files_never_break_the_server(
    start: StartClient, home: Any, error_of: ErrorOf
) -> None:
    client, worker = start()
    generator = np.random.default_rng(0)
    sources = []
    for kind in ("PNG", "JPEG", "WEBP", "BMP"):
        buffer = io.BytesIO()
        Image.effect_noise((24, 24), 60).convert("RGB").save(buffer, kind)
        sources.append(np.frombuffer(buffer.getvalue(), dtype=np.uint8))
    statuses = []
    for number in range(240):
        data = sources[number % 4].copy()
        places = generator.integers(0, len(data), generator.integers(1, 20))
        data[places] = generator.integers(0, 256, len(places), dtype=np.uint8)
        cut = generator.integers(1, len(data) + 1) if number % 3 == 0 else len(data)
        response = client.post("/v1/predict", content=data[:cut].tobytes())
        statuses.append(response.status_code)
        if response.status_code != 200:
            error_of(response)
    assert set(statuses) <= {200, 413, 415, 422}
    assert statuses.count(200) > 0
    worker.stop()
    assert [e.outcome == "ok" for e in iter_spool(home.settings.home.path("spool"))] == [
        status == 200 for status in statuses
    ]


def test_bodies_that_wait_are_bounded_in_bytes_together(
    start: StartClient,
    home: Any,
    monkeypatch: pytest.MonkeyPatch,
    error_of: ErrorOf,
    hold: Callable[[Any], threading.Event],
) -> None:
    monkeypatch.setattr(exchange, "MOST_BODY_BYTES", 1500)
    client, worker = start(home.with_serving(max_body_bytes=1000))
    held = hold(worker)
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(client.post("/v1/predict", content=b"x" * 900).status_code)

    first = threading.Thread(target=ask)
    first.start()
    while client.app._bodies.held == 0:
        time.sleep(0.01)
    for _ in range(2):  # a refused one is no longer counted
        refused = client.post("/v1/predict", content=b"x" * 900)
        assert error_of(refused)["code"] == "overloaded"
        assert refused.headers["retry-after"] == "1"
    held.set()
    first.join()
    assert statuses == [422]
    assert client.app._bodies.held == 0
    assert error_of(client.post("/v1/predict", content=b"x" * 900))["code"] == "invalid_image"


@pytest.mark.parametrize("framework_hides_it", [False, True])
def test_a_body_that_never_arrives_is_given_up(
    start: StartClient, monkeypatch: pytest.MonkeyPatch, *, framework_hides_it: bool
) -> None:
    monkeypatch.setattr(exchange, "BODY_S", 0.05)
    client, _ = start()
    slot = client.app._slot

    async def hiding(_scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
            await receive()
        except Exception:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"oops"})

    parts = iter([{"type": "http.request", "body": b"begin", "more_body": True}])
    answer: list[Message] = []

    async def receive() -> Message:
        for part in parts:
            return part
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message: Message) -> None:
        answer.append(message)

    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict" if framework_hides_it else "/v1/predict",
        "headers": [],
        "client": None,
    }
    app = edge.Edge(hiding if framework_hides_it else build_app(slot), slot)
    asyncio.run(app(scope, receive, send))
    assert [message["type"] for message in answer] == ["http.response.start", "http.response.body"]
    assert answer[0]["status"] == 400
    assert (b"connection", b"close") in answer[0]["headers"]
    assert b"did not arrive within" in answer[1]["body"]


def test_who_waits_for_the_client_to_leave_may_wait_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "BODY_S", 0.2)
    messages: list[Message] = [
        {"type": "http.request", "body": b"all"},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        await asyncio.sleep(0.0 if len(seen) == 0 else 0.3)
        return messages[len(seen)]

    async def send(_message: Message) -> None:
        raise AssertionError

    seen: list[str] = []

    async def main() -> None:
        one = exchange.Exchange("r", 100, exchange.Bodies(), receive, send)
        seen.append((await one.receive())["type"])
        seen.append((await one.receive())["type"])

    asyncio.run(main())
    assert seen == ["http.request", "http.disconnect"]
