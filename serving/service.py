"""The BentoML service: packaging, supervision and the SDK's view of the routes of this stage.

The only file that knows BentoML. Its adaptive batching, access log, tracing and metrics stay off:
measured, they cost more than a small model; see docs/serving.md. The worker's own routes are
mounted, and one plain API on the same core serves BentoML's SDK and Swagger page.
"""

from __future__ import annotations

import base64
import os
from typing import Any

import bentoml
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from .edge import Edge
from .lifecycle import worker_lifespan
from .packed import packed_workers
from .refusal import Refusal
from .routes import build_app, deadline_of, sender_of
from .supervisor import mend_supervisor
from .swagger_page import OwnScriptsOnly
from .worker import Slot

mend_supervisor()
SLOT = Slot()
routes = build_app(SLOT, worker_lifespan(SLOT))


@bentoml.service(
    name="redshank",
    workers=packed_workers(os.environ),
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(routes, path="/")
class RedshankService:
    """Image classification that is watched."""

    @bentoml.api(route="/predict")
    async def predict(
        self, context: bentoml.Context, image_base64: str, domain: str = ""
    ) -> dict[str, Any]:
        """Classify one image given as base64 text: for the SDK; `/v1/predict` is the fast way.

        A file parameter would let BentoML fetch addresses that a client names, so there is none.
        """
        request = context.request
        try:
            return await _answer(request, image_base64, domain)
        except Refusal as error:
            request.scope["redshank"].refusal = error
            context.response.status_code = error.status
            return Response(status_code=error.status)  # type: ignore[return-value]  # passed through


async def _answer(request: Request, image_base64: str, domain: str) -> dict[str, Any]:
    worker = SLOT.get()
    grant = worker.access.grant(request.headers.get("authorization", ""), "predict")
    try:
        data = base64.b64decode(image_base64, validate=True)
    except ValueError as error:  # also letters outside ASCII
        raise Refusal("bad_request", f"image_base64 is not base64: {error}") from error
    sender = sender_of(request, worker, grant, domain)
    answer: dict[str, Any] = orjson.loads(
        (await worker.predict(data, sender, deadline_of(request))).body
    )
    return answer


class EdgeFirst(type(RedshankService)):  # type: ignore[misc]  # BentoML's Service, which is not public
    """The service with our edge around all of BentoML's layers.

    As a middleware it would lie within those of tracing and timeouts, which cost a request more
    than the edge itself, though both have nothing to do.
    """

    __slots__ = ()

    def to_asgi(self, is_main: bool = True) -> ASGIApp:  # BentoML's signature
        """What a worker of BentoML serves."""
        return Edge(OwnScriptsOnly(super().to_asgi(is_main)), SLOT, routes)


RedshankService.__class__ = EdgeFirst  # type: ignore[method-assign]  # same slots, one method more

__all__ = ["SLOT", "RedshankService"]
