"""The outermost layer: request ids, health, limits, and one error envelope on every answer.

It wraps BentoML's own routes too, so an unknown address, a wrong method or a failure inside the
framework looks like every other error. Answers are counted here, by route template.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from redshank.http_api import REQUEST_ID_HEADER

from .limits import request_id_of
from .refusal import Refusal, refusal_for_status
from .worker import Slot, Worker

ROUTES = frozenset(
    {
        "/v1/predict",
        "/v1/predict/batch",
        "/v1/models",
        "/predict",
        "/admin/reload",
        "/openapi.json",
        "/docs.json",
        "/schema.json",
        "/metrics",
        "/healthz",
        "/livez",
        "/readyz",
        "/",
    }
)
"""Route templates in metrics; every other path counts as `other`."""
BODY_S = 20.0
"""A body that takes longer to arrive is given up, so that idle senders cannot pile up."""
MOST_BODY_BYTES = 256 * 1024 * 1024
"""Bodies that wait in one process; `serving.max_queue` bounds their number, not their size."""
_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})
_WHILE_DRAINING = _HEALTH | {"/metrics"}
_ID_HEADER = REQUEST_ID_HEADER.lower().encode()
_TEXT = [(b"content-type", b"text/plain; charset=utf-8")]
log = logging.getLogger("redshank.serving")


@dataclass(slots=True)
class Bodies:
    """Bytes of the bodies that all requests of this process hold together."""

    held: int = 0


class Exchange:
    """One request and its answer; routes find it in the scope under `redshank`."""

    __slots__ = ("_bodies", "_body_by", "_limit", "_receive", "_received", "_replaced", "_send",
                 "_whole", "refusal", "request_id", "started", "status")  # fmt: skip

    def __init__(
        self, request_id: str, limit: int, bodies: Bodies, receive: Receive, send: Send
    ) -> None:
        self.request_id = request_id
        self.started = time.perf_counter()
        self.refusal: Refusal | None = None
        self.status = 0
        self._limit, self._bodies, self._receive, self._send = limit, bodies, receive, send
        self._received = 0
        self._whole = self._replaced = False
        self._body_by: float | None = None

    async def receive(self) -> Message:
        """The next part of the body, counted and within `BODY_S` of the first call.

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

    def _count(self, size: int) -> None:
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
        if self._body_by is None:
            self._body_by = asyncio.get_running_loop().time() + BODY_S
        try:
            async with asyncio.timeout_at(self._body_by):
                return await self._receive()
        except TimeoutError as error:
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
                (_ID_HEADER, self.request_id.encode()),
            ]
        elif self._replaced:
            return
        await self._send(message)

    async def refuse(self, refusal: Refusal, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer with the envelope, and end the answer."""
        body = refusal.body(self.request_id)
        self.status = refusal.status
        await self._answer(refusal.status, [*refusal.headers(), *headers], body)

    @property
    def replaced(self) -> bool:
        """Whether the envelope went out in place of somebody's error answer."""
        return self._replaced

    async def answer_text(self, status: int, text: str) -> None:
        """Answer a probe."""
        self.status = status
        await self._answer(status, _TEXT, text.encode())

    async def _answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        own = [
            *headers,
            (b"content-length", str(len(body)).encode()),
            (_ID_HEADER, self.request_id.encode()),
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": own})
        await self._send({"type": "http.response.body", "body": body})


class Edge:
    """ASGI middleware around everything that a worker answers.

    Args:
        app: the next layer.
        slot: holds the worker.
        own: our routes, reached past the other layers: a tenth of a millisecond a request.
    """

    def __init__(self, app: ASGIApp, slot: Slot, own: Starlette | None = None) -> None:
        self._app, self._slot, self._own = app, slot, own
        self._bodies = Bodies()
        routes = own.routes if own is not None else ()
        self._own_paths = frozenset(route.path for route in routes if isinstance(route, Route))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        worker = self._slot.worker
        headers = dict(scope["headers"])
        limit = worker.limits.max_body_bytes if worker else 0
        request_id = request_id_of(headers.get(_ID_HEADER, b"").decode("latin-1"))
        exchange = Exchange(request_id, limit, self._bodies, receive, send)
        scope["redshank"] = exchange
        try:
            await self._answer(scope, exchange, worker, headers.get(b"content-length", b""))
        finally:
            exchange.release()
            if worker is not None:
                _count(worker, scope["path"], exchange)

    async def _answer(
        self, scope: Scope, exchange: Exchange, worker: Worker | None, length: bytes
    ) -> None:
        path = scope["path"]
        if path in _HEALTH:
            await _answer_probe(path, exchange, worker)
            return
        refusal = _early_refusal(path, worker, length)
        if refusal is not None:
            await exchange.refuse(refusal)
            return
        app = self._own if self._own is not None and path in self._own_paths else self._app
        try:
            await app(scope, exchange.receive, exchange.send)
        except Exception as error:
            if not isinstance(error, Refusal):
                log.exception("request %s failed", exchange.request_id)
            if exchange.replaced:
                return
            if exchange.status:
                raise  # the answer has begun already: the connection must end
            await exchange.refuse(error if isinstance(error, Refusal) else Refusal("internal"))


async def _answer_probe(path: str, exchange: Exchange, worker: Worker | None) -> None:
    """`/livez` and `/healthz`: the process runs. `/readyz`: it has a model and takes requests."""
    if path != "/readyz":
        await exchange.answer_text(200, "alive\n")
    elif worker is not None and worker.ready:
        await exchange.answer_text(200, "ready\n")
    elif worker is not None and worker.draining:
        await exchange.refuse(Refusal("not_ready", "the server is draining", retry_after_s=1))
    else:
        why = worker.watcher.problem if worker is not None else ""
        await exchange.refuse(Refusal("not_ready", "no model is loaded", hint=why, retry_after_s=1))


def _early_refusal(path: str, worker: Worker | None, length: bytes) -> Refusal | None:
    """What can be refused before the body is read."""
    if worker is None:
        return Refusal("not_ready", retry_after_s=1)
    if worker.draining and path not in _WHILE_DRAINING:
        return Refusal("not_ready", "the server is draining", retry_after_s=1, close=True)
    if length.isdigit() and int(length) > worker.limits.max_body_bytes:
        return body_too_large(worker.limits.max_body_bytes)
    return None


def body_too_large(limit: int) -> Refusal:
    """The refusal of a body over `limit` bytes; the rest of it is not read."""
    return Refusal(
        "body_too_large", f"the body is larger than {limit} bytes", details={"limit": limit},
        hint="Send a smaller file, or raise serving.max_body_bytes.", close=True,
    )  # fmt: skip


def _count(worker: Worker, path: str, exchange: Exchange) -> None:
    route = path if path in ROUTES else "other"
    worker.metrics.requests.labels(route, str(exchange.status)).inc()
    worker.metrics.request_seconds.labels(route).observe(time.perf_counter() - exchange.started)
