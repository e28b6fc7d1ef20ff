"""What a client sees: answers, the one error envelope, headers and error codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DOMAIN_HEADER = "X-Domain"
SEQUENCE_HEADER = "X-Sequence-Id"
CLIENT_HEADER = "X-Client-Id"
REQUEST_ID_HEADER = "X-Request-ID"
DEADLINE_HEADER = "X-Deadline-Ms"
MODEL_HEADER = "X-Model"
VERSION_HEADER = "X-Model-Version"

ERRORS: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be understood."),
    "unauthorized": (401, "A bearer token is missing or wrong."),
    "not_found": (404, "There is nothing at this address."),
    "method_not_allowed": (405, "The address exists, with another method."),
    "body_too_large": (413, "The body is larger than the limit."),
    "image_too_large": (413, "The image has more pixels than the limit."),
    "unsupported_format": (415, "The image is of a format that is not allowed."),
    "invalid_image": (422, "The bytes are not a whole image."),
    "invalid_domain": (422, "The domain name does not fit."),
    "overloaded": (429, "Too many requests wait already."),
    "internal": (500, "The server failed; the request id finds the log line."),
    "not_ready": (503, "No model is loaded, or the server is draining."),
    "deadline_exceeded": (504, "The request waited longer than its deadline."),
}
"""Error code -> HTTP status, meaning."""


@dataclass(frozen=True)
class ClassConfidence:
    """A class with its calibrated confidence in [0, 1]."""

    class_name: str
    """`class` in JSON."""
    confidence: float


@dataclass(frozen=True)
class Prediction:
    """Answer of `POST /v1/predict`."""

    request_id: str
    model: str
    version: str
    domain: str
    class_name: str
    """`class` in JSON."""
    confidence: float
    abstain: bool
    top: tuple[ClassConfidence, ...]
    latency_ms: float


@dataclass(frozen=True)
class ErrorBody:
    """What went wrong; `{"error": ...}` around it in JSON."""

    code: str
    message: str
    hint: str
    request_id: str
    details: dict[str, Any]


def prediction_json(prediction: Prediction) -> dict[str, Any]:
    """The JSON object of an answer."""
    values = {**vars(prediction), "top": [(c.class_name, c.confidence) for c in prediction.top]}
    return prediction_values(**values)


def prediction_values(  # noqa: PLR0913  # the fields of an answer, all by name
    *,
    request_id: str,
    model: str,
    version: str,
    domain: str,
    class_name: str,
    confidence: float,
    abstain: bool,
    top: Sequence[tuple[str, float]],
    latency_ms: float,
) -> dict[str, Any]:
    """The JSON object of an answer, without a `Prediction` on the way: serving makes thousands."""
    return {
        "request_id": request_id,
        "model": model,
        "version": version,
        "domain": domain,
        "class": class_name,
        "confidence": confidence,
        "abstain": abstain,
        "top": [{"class": name, "confidence": share} for name, share in top],
        "latency_ms": latency_ms,
    }


def error_json(error: ErrorBody) -> dict[str, Any]:
    """The JSON object of an error."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "request_id": error.request_id,
            "details": error.details,
        }
    }
