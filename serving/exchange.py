"""One request and its answer at the edge: the body counted and timed, errors in one envelope."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import orjson
from starlette.types import Message, Receive, Send

from redshank.http_api import REQUEST_ID_HEADER

from .refusal import Refusal, refusal_for_status

BODY_S = 20.0
"""A body that takes longer to arrive is given up, so that idle senders cannot pile up."""
MOST_BODY_BYTES = 256 * 1024 * 1024
"""Bodies that wait in one process; `serving.max_queue` bounds their number, not their size."""
ID_HEADER = REQUEST_ID_HEADER.lower().encode()
_JSON = [(b"content-type", b"application/json")]
_TEXT = [(b"content-type", b"text/plain; charset=utf-8")]
Headers = Sequence[tuple[bytes, bytes]]
ErrorBody = Callable[[Refusal, str], bytes]
"""Makes the body of an error answer from the refusal and the request id."""


class Bodies:
    """What the bodies of all requests of this process hold together, and who sends too slowly.

    One timer looks after all of them; a timer a request costs more than all the rest of a request
    at the edge.
    """

    def __init__(self) -> None:
        self.held = 0
        self._arriving: dict[Exchange, tuple[asyncio.Task[Any], float]] = {}
        self._looking = False

    def arriving(self, exchange: Exchange, task: asyncio.Task[Any]) -> None:
        """A request begins to wait for its body."""
        loop = task.get_loop()
        self._arriving[exchange] = (task, loop.time() + BODY_S)
        if not self._looking:
            self._looking = True
            loop.call_later(BODY_S / 20, self._look, loop)

    def arrived(self, exchange: Exchange) -> None:
        """It waits no longer."""
        self._arriving.pop(exchange, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        for exchange, (task, end_s) in list(self._arriving.items()):
            if now_s >= end_s:
                del self._arriving[exchange]
                exchange.late = True
                task.cancel()
        self._looking = bool(self._arriving)
        if self._looking:
            loop.call_later(BODY_S / 20, self._look, loop)


class Exchange:
    """One request and its answer; routes find it in the scope under `redshank`."""

    __slots__ = ("_bodies", "_limit", "_receive", "_received", "_replaced", "_send", "_whole",
                 "error_body", "late", "refusal", "request_id", "started", "status")  # fmt: skip

    def __init__(
        self, request_id: str, limit: int, bodies: Bodies, receive: Receive, send: Send
    ) -> None:
        self.request_id = request_id
        self.started = time.perf_counter()
        self.refusal: Refusal | None = None
        self.error_body: ErrorBody = Refusal.body
        self.status = 0
        self.late = False
        self._limit, self._bodies, self._receive, self._send = limit, bodies, receive, send
        self._received = 0
        self._whole = self._replaced = False

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            Refusal: as `receive`, or the client left in the middle.
        """
        message = await self.receive()
        if not message.get("more_body", False) and message["type"] == "http.request":
            return bytes(message.get("body", b""))
        parts = [message.get("body", b"")]
        while message.get("more_body", False):
            message = await self.receive()
            parts.append(message.get("body", b""))
        if message["type"] != "http.request":
            raise Refusal("bad_request", "the body ended early", close=True)
        return b"".join(parts)

    async def receive(self) -> Message:
        """The next part of the body, counted, within `BODY_S`.

        Raises:
            Refusal: the body is over the limit, did not arrive in time, or all bodies together
                are over `MOST_BODY_BYTES`.
        """
        if self._whole:  # whoever asks now waits for the client to leave
            return await self._receive()
        message = await self._in_time()
        if message["type"] == "http.request":
            self._whole = not message.get("more_body", False)
            self._count(len(message.get("body", b"")))
        return message

    def release(self) -> None:
        """The body is no longer held."""
        self._bodies.held -= self._received
        self._bodies.arrived(self)

    def _count(self, size: int) -> None:
        if self._whole:
            self._bodies.arrived(self)
        self._received += size
        self._bodies.held += size
        if self._received > self._limit:
            self.refusal = body_too_large(self._limit)
            raise self.refusal
        if self._bodies.held > max(MOST_BODY_BYTES, self._limit):
            why = "the images that wait already fill the memory for them"
            self.refusal = Refusal("overloaded", why, retry_after_s=1, close=True)
            raise self.refusal

    async def _in_time(self) -> Message:
        task = asyncio.current_task()
        if not self._received and task is not None:
            self._bodies.arriving(self, task)
        try:
            return await self._receive()
        except asyncio.CancelledError as error:
            if not self.late or task is None or task.uncancel() > 0:
                raise  # somebody else ends this request
            why = f"the body did not arrive within {BODY_S:g} s"
            self.refusal = Refusal("bad_request", why, close=True)
            raise self.refusal from error

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass an answer on; an error of another framework becomes our envelope."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status >= 400:
                allow = [h for h in message.get("headers", ()) if h[0].lower() == b"allow"]
                self._replaced = True
                await self.refuse(self.refusal or refusal_for_status(self.status), allow)
                return
            message.setdefault("headers", [])
            message["headers"] = [
                *message["headers"],
                (ID_HEADER, self.request_id.encode()),
            ]
        elif self._replaced:
            return
        await self._send(message)

    async def refuse(self, refusal: Refusal, headers: Headers = ()) -> None:
        """Answer with the envelope, and end the answer."""
        body = self.error_body(refusal, self.request_id)
        await self.answer(refusal.status, [*refusal.headers(), *headers], body)

    @property
    def replaced(self) -> bool:
        """Whether the envelope went out in place of somebody's error answer."""
        return self._replaced

    async def answer_text(self, text: str) -> None:
        """Answer a probe."""
        await self.answer(200, _TEXT, text.encode())

    async def answer_json(self, values: dict[str, Any]) -> None:
        """Answer a probe of the inference protocol."""
        await self.answer(200, _JSON, orjson.dumps(values))

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer; length and request id are added."""
        self.status = status
        own = [
            *headers,
            (b"content-length", str(len(body)).encode()),
            (ID_HEADER, self.request_id.encode()),
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": own})
        await self._send({"type": "http.response.body", "body": body})


def body_too_large(limit: int) -> Refusal:
    """The refusal of a body over `limit` bytes; the rest of it is not read."""
    return Refusal(
        "body_too_large", f"the body is larger than {limit} bytes", details={"limit": limit},
        hint="Send a smaller file, or raise serving.max_body_bytes.", close=True,
    )  # fmt: skip
