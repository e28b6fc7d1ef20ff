"""The outermost layer: request ids, health, limits, and one error envelope on every answer.

It wraps BentoML's own routes too, so an unknown address, a wrong method or a failure inside the
framework looks like every other error. Answers are counted here, by route template.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .exchange import ID_HEADER, Bodies, Exchange, body_too_large
from .identity import RequestIds
from .protocol import error_body
from .raw_predict import is_raw_predict, predict_raw
from .refusal import Refusal
from .route_templates import template_of
from .worker import Slot, Worker

_HEALTH = frozenset({"/healthz", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})
_READY = frozenset({"/readyz", "/v2/health/ready"})
_WHILE_DRAINING = _HEALTH | {"/metrics"}
log = logging.getLogger("redshank.serving")


class Edge:
    """ASGI middleware around everything that a worker answers.

    Args:
        app: the next layer.
        slot: holds the worker.
        own: our routes, reached past the other layers: a tenth of a millisecond a request.
    """

    def __init__(self, app: ASGIApp, slot: Slot, own: Starlette | None = None) -> None:
        self._app, self._slot, self._own = app, slot, own
        self._bodies, self._ids = Bodies(), RequestIds()
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
        request_id = self._ids.of(headers.get(ID_HEADER, b"").decode("latin-1"))
        exchange = Exchange(request_id, limit, self._bodies, receive, send)
        scope["redshank"] = exchange
        if scope["path"].startswith("/v2"):
            exchange.error_body = error_body
        try:
            await self._answer(scope, exchange, worker, headers)
        finally:
            exchange.release()
            if worker is not None:
                _count(worker, scope["path"], exchange)

    async def _answer(
        self,
        scope: Scope,
        exchange: Exchange,
        worker: Worker | None,
        headers: Mapping[bytes, bytes],
    ) -> None:
        path = scope["path"]
        if path in _HEALTH:
            await _answer_probe(path, exchange, worker)
            return
        refusal = _early_refusal(path, worker, headers.get(b"content-length", b""))
        if refusal is not None or worker is None:
            await exchange.refuse(refusal or Refusal("not_ready", retry_after_s=1))
            return
        try:
            if is_raw_predict(scope, headers):
                await predict_raw(worker, scope, headers, exchange)
                return
            is_own = self._own is not None and template_of(path) in self._own_paths
            app = self._own if is_own and self._own is not None else self._app
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
    if path not in _READY:
        await _answer_well(path, exchange, "alive", "live")
    elif worker is not None and worker.ready:
        await _answer_well(path, exchange, "ready", "ready")
    elif worker is not None and worker.draining:
        await exchange.refuse(Refusal("not_ready", "the server is draining", retry_after_s=1))
    else:
        why = worker.watcher.problem if worker is not None else ""
        await exchange.refuse(Refusal("not_ready", "no model is loaded", hint=why, retry_after_s=1))


async def _answer_well(path: str, exchange: Exchange, word: str, key: str) -> None:
    """A probe's good answer: a word, or what the inference protocol wants."""
    if path.startswith("/v2"):
        await exchange.answer_json({key: True})
    else:
        await exchange.answer_text(f"{word}\n")


def _early_refusal(path: str, worker: Worker | None, length: bytes) -> Refusal | None:
    """What can be refused before the body is read."""
    if worker is None:
        return Refusal("not_ready", retry_after_s=1)
    if worker.draining and path not in _WHILE_DRAINING:
        return Refusal("not_ready", "the server is draining", retry_after_s=1, close=True)
    if length.isdigit() and int(length) > worker.limits.max_body_bytes:
        return body_too_large(worker.limits.max_body_bytes)
    return None


def _count(worker: Worker, path: str, exchange: Exchange) -> None:
    worker.metrics.answered(
        template_of(path), exchange.status, time.perf_counter() - exchange.started
    )
