"""The HTTP routes of a worker, as a Starlette application."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Lifespan

from redshank.http_api import CLIENT_HEADER, DOMAIN_HEADER, SEQUENCE_HEADER

from .access import Grant, check_domain_granted
from .batches import predict_many
from .limits import checked_domain, checked_label
from .openapi import openapi_document
from .refusal import Refusal
from .swap import Served
from .uploads import is_multipart, read_form
from .worker import Sender, Slot, Worker

JSON = "application/json"


def build_app(slot: Slot, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """The routes; the worker is looked up in `slot` at each request."""
    routes = Routes(slot)
    return Starlette(
        routes=[
            Route("/v1/predict", routes.predict, methods=["POST"]),
            Route("/v1/predict/batch", routes.predict_batch, methods=["POST"]),
            Route("/v1/models", routes.models, methods=["GET"]),
            Route("/admin/reload", routes.reload, methods=["POST"]),
            Route("/metrics", routes.metrics, methods=["GET"]),
            Route("/openapi.json", routes.openapi, methods=["GET"]),
        ],
        exception_handlers={Refusal: _refuse, ClientDisconnect: _gone},
        lifespan=lifespan,
    )


class Routes:
    """Handlers over one worker."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    async def predict(self, request: Request) -> Response:
        """One image, raw or as a form."""
        worker = self._slot.get()
        grant = worker.access.grant(request.headers.get("authorization", ""), "predict")
        domain = request.headers.get(DOMAIN_HEADER, "")
        if is_multipart(request):
            uploads, form_domain = await read_form(request, worker.limits)
            if len(uploads) > 1:
                raise Refusal(
                    "bad_request",
                    f"the form has {len(uploads)} files, expected one",
                    hint="Send several images to /v1/predict/batch.",
                )
            data, domain = uploads[0].data, domain or form_domain
        else:
            checked_domain(domain)  # before the body is read
            data = await request.body()
        sender = sender_of(request, worker, grant, domain)
        return Response(await worker.predict(data, sender), media_type=JSON)

    async def predict_batch(self, request: Request) -> Response:
        """Many images in one form; each has its own answer or error."""
        worker = self._slot.get()
        grant = worker.access.grant(request.headers.get("authorization", ""), "predict")
        uploads, form_domain = await read_form(request, worker.limits)
        domain = request.headers.get(DOMAIN_HEADER, "") or form_domain
        sender = sender_of(request, worker, grant, domain)
        return Response(await predict_many(worker, uploads, sender), media_type=JSON)

    async def models(self, request: Request) -> Response:
        """What answers now."""
        worker = self._slot.get()
        worker.access.grant(request.headers.get("authorization", ""), "predict")
        snapshot = worker.snapshot()
        answer = {
            "model": snapshot.release.model,
            "revision": snapshot.release.revision,
            "updated_at": snapshot.release.updated_at,
            "problem": worker.watcher.problem,
            "bundles": [_describe(served) for served in snapshot.served],
        }
        return Response(orjson.dumps(answer), media_type=JSON)

    async def reload(self, request: Request) -> Response:
        """Look at the release pointer now instead of at the next poll (this worker)."""
        worker = self._slot.get()
        worker.access.grant(request.headers.get("authorization", ""), "admin")
        worker.watcher.wake()
        return Response(orjson.dumps({"looking": True}), status_code=202, media_type=JSON)

    def metrics(self, _request: Request) -> Response:
        """Prometheus text of all workers; no coroutine: thousands of series would hold answers."""
        body = self._slot.get().metrics.exposition()
        return Response(body, media_type="text/plain; version=1.0.0; charset=utf-8")

    async def openapi(self, _request: Request) -> Response:
        """The description of this API."""
        return Response(orjson.dumps(openapi_document()), media_type=JSON)


def sender_of(request: Request, worker: Worker, grant: Grant, domain: str) -> Sender:
    """The checked facts of a request.

    Raises:
        Refusal: a header does not fit, or the token does not cover the domain.
    """
    exchange = request.scope["redshank"]
    checked = checked_domain(domain)
    check_domain_granted(grant, checked)
    address = request.client.host if request.client else ""
    return Sender(
        request_id=exchange.request_id,
        domain=checked,
        sequence_id=checked_label(SEQUENCE_HEADER, request.headers.get(SEQUENCE_HEADER)),
        client=checked_label(CLIENT_HEADER, request.headers.get(CLIENT_HEADER)) or address,
        received_at=worker.clock(),
        started=exchange.started,
    )


async def _refuse(request: Request, error: Exception) -> Response:
    """Leave the refusal for the edge, which writes the envelope."""
    if not isinstance(error, Refusal):
        raise error
    request.scope["redshank"].refusal = error
    return Response(status_code=error.status)


async def _gone(request: Request, _error: Exception) -> Response:
    """The client left while it was sending: nobody reads this answer."""
    refusal = Refusal("bad_request", "the body ended early", close=True)
    request.scope["redshank"].refusal = refusal
    return Response(status_code=refusal.status)


def _describe(served: Served) -> dict[str, Any]:
    bundle = served.model.bundle
    return {
        "version": served.version,
        "role": served.role,
        "created_at": bundle.created_at,
        "classes": list(bundle.classes),
        "source_domains": list(bundle.source_domains),
        "target_domains": list(bundle.target_domains),
        "input": {"height": bundle.input.height, "width": bundle.input.width},
        "temperature": bundle.temperature,
        "abstain_below": bundle.abstain_below,
        "run_id": bundle.provenance.run_id,
        "providers": list(served.model.providers),
    }
