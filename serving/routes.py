"""The HTTP routes of a worker, as a Starlette application."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Lifespan

from redshank.http_api import DEADLINE_HEADER, DOMAIN_HEADER

from .access import Grant
from .batches import predict_many
from .inference import Answer
from .limits import checked_deadline_s
from .openapi import openapi_document
from .plans import Plans
from .protocol_routes import protocol_routes
from .raw_predict import granted_domain, identity_headers
from .raw_predict import sender_of as sender_in_scope
from .refusal import Refusal
from .swap import Served
from .uploads import read_form
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
            *protocol_routes(slot),
        ],
        exception_handlers={Refusal: _refuse, ClientDisconnect: _gone},
        lifespan=lifespan,
    )


class Routes:
    """Handlers over one worker."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    async def predict(self, request: Request) -> Response:
        """One image as a form; a raw body never comes here (serving/raw_predict.py)."""
        worker = self._slot.get()
        grant = worker.access.grant(request.headers.get("authorization", ""), "predict")
        uploads, form_domain = await read_form(request, worker.limits)
        if len(uploads) > 1:
            raise Refusal(
                "bad_request",
                f"the form has {len(uploads)} files, expected one",
                hint="Send several images to /v1/predict/batch.",
            )
        sender = sender_of(request, worker, grant, form_domain)
        answer = await worker.predict(uploads[0].data, sender, deadline_of(request))
        return _answered(answer)

    async def predict_batch(self, request: Request) -> Response:
        """Many images in one form; each has its own answer or error."""
        worker = self._slot.get()
        grant = worker.access.grant(request.headers.get("authorization", ""), "predict")
        uploads, form_domain = await read_form(request, worker.limits)
        sender = sender_of(request, worker, grant, form_domain)
        body = await predict_many(worker, uploads, sender, deadline_of(request))
        return Response(body, media_type=JSON)

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
            "abstain_below": worker.abstain_below,
            "bundles": [_describe(served, worker.watcher.plans) for served in snapshot.served],
        }
        return Response(orjson.dumps(answer), media_type=JSON)

    async def reload(self, request: Request) -> Response:
        """Look at the release pointer now instead of at the next poll (this worker)."""
        worker = self._slot.get()
        worker.access.grant_admin(request.headers)
        worker.watcher.wake()
        return Response(orjson.dumps({"looking": True}), status_code=202, media_type=JSON)

    def metrics(self, request: Request) -> Response:
        """Prometheus text of all workers; no coroutine: thousands of series would hold answers."""
        worker = self._slot.get()
        if worker.access.metrics_guarded:
            worker.access.grant(request.headers.get("authorization", ""), "metrics")
        body = worker.metrics.exposition()
        return Response(body, media_type="text/plain; version=1.0.0; charset=utf-8")

    async def openapi(self, _request: Request) -> Response:
        """The description of this API."""
        return Response(orjson.dumps(openapi_document()), media_type=JSON)


def sender_of(request: Request, worker: Worker, grant: Grant, form_domain: str = "") -> Sender:
    """The checked facts of a request; the header names the domain, else the form.

    Raises:
        Refusal: a header does not fit, or the token does not cover the domain.
    """
    scope = request.scope
    domain = granted_domain(grant, request.headers.get(DOMAIN_HEADER, "") or form_domain)
    return sender_in_scope(worker, scope, dict(scope["headers"]), scope["redshank"], domain)


def deadline_of(request: Request) -> float | None:
    """How long the sender waits, in seconds; None when it does not say."""
    return checked_deadline_s(request.headers.get(DEADLINE_HEADER))


def _answered(answer: Answer) -> Response:
    headers = {name.decode(): value.decode() for name, value in identity_headers(answer.served)}
    return Response(answer.body, media_type=JSON, headers=headers)


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


def _describe(served: Served, plans: Plans | None) -> dict[str, Any]:
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
        "onnx_sha256": bundle.files[served.model.artefact.file],
        "precision": served.model.precision,
        "providers": list(served.model.providers),
        "plan": plans.state(served.model) if plans is not None else "",
        "max_batch": served.max_batch,
    }
