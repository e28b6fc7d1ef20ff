"""A request that is not answered with a prediction: the one error envelope."""

from __future__ import annotations

from typing import Any

import orjson

from redshank.http_api import ERRORS, ErrorBody, error_json


class Refusal(Exception):  # noqa: N818  # an answer, not a fault of the server
    """Ends a request with an error code of `redshank.http_api.ERRORS`.

    Args:
        code: key of `ERRORS`; it decides the status.
        message: thing, value and expectation; the meaning of the code when empty.
        hint: the client's next step.
        details: machine-readable facts.
        retry_after_s: when a retry makes sense (429, 503).
        close: whether the connection should end with the answer.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        hint: str = "",
        details: dict[str, Any] | None = None,
        retry_after_s: int = 0,
        close: bool = False,
    ) -> None:
        self.code = code
        self.status, meaning = ERRORS[code]
        self.message = message or meaning
        super().__init__(self.message)
        self.hint = hint
        self.details = details or {}
        self.retry_after_s = retry_after_s
        self.close = close

    def body(self, request_id: str) -> bytes:
        """The JSON envelope."""
        return orjson.dumps(
            error_json(ErrorBody(self.code, self.message, self.hint, request_id, self.details))
        )

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of the answer, as ASGI wants them."""
        found = [(b"content-type", b"application/json")]
        if self.retry_after_s:
            found.append((b"retry-after", str(self.retry_after_s).encode()))
        if self.close:
            found.append((b"connection", b"close"))
        if self.code == "unauthorized":
            found.append((b"www-authenticate", b"Bearer"))
        return found


def refusal_for_status(status: int) -> Refusal:
    """The refusal that stands for an error answer of another framework."""
    codes = {401: "unauthorized", 403: "unauthorized", 404: "not_found", 405: "method_not_allowed"}
    codes |= {413: "body_too_large", 429: "overloaded", 503: "not_ready", 504: "deadline_exceeded"}
    default = "bad_request" if status < 500 else "internal"
    return Refusal(codes.get(status, default))
