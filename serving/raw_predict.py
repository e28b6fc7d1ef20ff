"""`POST /v1/predict` with the bytes of one image: from ASGI to the batcher without a framework.

Router, request and response objects of Starlette cost as much as a small model. The form of the
same address, and everything else, goes through serving/routes.py; both end in `Worker.predict`.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from redshank.http_api import (
    CLIENT_HEADER,
    DEADLINE_HEADER,
    DOMAIN_HEADER,
    MODEL_HEADER,
    SEQUENCE_HEADER,
    VERSION_HEADER,
)

from .access import Grant, check_domain_granted
from .exchange import Exchange, Headers
from .limits import checked_deadline_s, checked_domain, checked_label
from .swap import Served
from .uploads import MULTIPART
from .worker import Sender, Worker

PATH = "/v1/predict"
_DOMAIN, _SEQUENCE, _CLIENT, _DEADLINE = (
    name.lower().encode()
    for name in (DOMAIN_HEADER, SEQUENCE_HEADER, CLIENT_HEADER, DEADLINE_HEADER)
)
_MODEL, _VERSION = MODEL_HEADER.lower().encode(), VERSION_HEADER.lower().encode()
_MULTIPART = MULTIPART.encode()
_JSON = (b"content-type", b"application/json")


def is_raw_predict(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request is one image as its body."""
    return (
        scope["path"] == PATH
        and scope["method"] == "POST"
        and not headers.get(b"content-type", b"").lower().startswith(_MULTIPART)
    )


async def predict_raw(
    worker: Worker, scope: Scope, headers: Mapping[bytes, bytes], exchange: Exchange
) -> None:
    """Answer one image.

    Raises:
        Refusal: token, headers, body or image do not fit, or the server is too busy.
    """
    grant = worker.access.grant(_text(headers, b"authorization"), "predict")
    domain = granted_domain(grant, _text(headers, _DOMAIN))
    deadline_s = checked_deadline_s(_text(headers, _DEADLINE))
    sender = sender_of(worker, scope, headers, exchange, domain)
    body = await exchange.body()
    answer = await worker.predict(body, sender, deadline_s)
    await exchange.answer(200, [_JSON, *identity_headers(answer.served)], answer.body)


def sender_of(
    worker: Worker,
    scope: Scope,
    headers: Mapping[bytes, bytes],
    exchange: Exchange,
    domain: str,
) -> Sender:
    """The facts of a request; its domain is checked already.

    Raises:
        Refusal: a sequence or client id does not fit.
    """
    client = checked_label(CLIENT_HEADER, _text(headers, _CLIENT))
    address = scope.get("client")
    return Sender(
        request_id=exchange.request_id,
        domain=domain,
        sequence_id=checked_label(SEQUENCE_HEADER, _text(headers, _SEQUENCE)),
        client=client or (address[0] if address else ""),
        received_at=worker.clock(),
        started=exchange.started,
    )


def granted_domain(grant: Grant, text: str) -> str:
    """The domain of a request, checked for its letters and against the token.

    Raises:
        Refusal: it does not fit, or the token does not cover it.
    """
    domain = checked_domain(text)
    check_domain_granted(grant, domain)
    return domain


def identity_headers(served: Served) -> Headers:
    """Which bundle answered, as headers."""
    model = served.model.bundle.model.encode()
    return ((_MODEL, model), (_VERSION, served.version.encode()))


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    value = headers.get(name)
    return value.decode("latin-1") if value else ""
