"""Our own OpenAPI document: BentoML's leaves out mounted routes."""

from __future__ import annotations

from typing import Any

from redshank.http_api import (
    CLIENT_HEADER,
    DEADLINE_HEADER,
    DOMAIN_HEADER,
    ERRORS,
    REQUEST_ID_HEADER,
    SEQUENCE_HEADER,
)

from .openapi_protocol import protocol_paths, protocol_schemas

API_VERSION = "1"
_IMAGE = {"type": "string", "format": "binary"}
_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}


def openapi_document() -> dict[str, Any]:
    """The document of every route, with all error codes."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "redshank",
            "version": API_VERSION,
            "description": "Image classification that is watched: every answer is an event.",
        },
        "paths": {
            "/v1/predict": {"post": _predict()},
            "/v1/predict/batch": {"post": _predict_batch()},
            "/predict": {"post": _predict_base64()},
            "/v1/models": {"get": _operation("Models that answer now", _object("Models"))},
            "/admin/reload": {
                "post": _operation("Look at the release pointer now", {"type": "object"}, 202)
            },
            "/metrics": {"get": _text_operation("Prometheus text format", 503)},
            "/healthz": {"get": _text_operation("The process runs")},
            "/livez": {"get": _text_operation("The process runs")},
            "/readyz": {"get": _text_operation("A model is loaded and requests are taken", 503)},
            **protocol_paths(_operation),
        },
        "components": {
            "schemas": {**_schemas(), **protocol_schemas()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _predict() -> dict[str, Any]:
    image_body: dict[str, Any] = {
        kind: {"schema": _IMAGE} for kind in ("image/jpeg", "image/png", "image/webp", "image/bmp")
    }
    form = {"type": "object", "properties": {"image": _IMAGE, "domain": _TEXT}}
    image_body["multipart/form-data"] = {"schema": {**form, "required": ["image"]}}
    return {
        **_operation("Classify one image", _object("Prediction")),
        "parameters": _parameters(),
        "requestBody": {"required": True, "content": image_body},
    }


def _predict_batch() -> dict[str, Any]:
    images = {"type": "array", "items": _IMAGE}
    form = {"type": "object", "properties": {"images": images, "domain": _TEXT}}
    content = {"multipart/form-data": {"schema": {**form, "required": ["images"]}}}
    return {
        **_operation("Classify many images; each succeeds or fails alone", _object("Batch")),
        "parameters": _parameters(),
        "requestBody": {"required": True, "content": content},
    }


def _predict_base64() -> dict[str, Any]:
    body = {"type": "object", "properties": {"image_base64": _TEXT, "domain": _TEXT}}
    content = {"application/json": {"schema": {**body, "required": ["image_base64"]}}}
    return {
        **_operation("Classify one image given as base64 (BentoML's SDK)", _object("Prediction")),
        "parameters": _parameters(),
        "requestBody": {"required": True, "content": content},
    }


def _operation(
    summary: str, schema: dict[str, Any], status: int = 200, *, errors: str = "Error"
) -> dict[str, Any]:
    return {
        "summary": summary,
        "security": [{}, {"token": []}],
        "responses": {
            str(status): {
                "description": "Done",
                "content": {"application/json": {"schema": schema}},
            },
            **_errors(errors),
        },
    }


def _text_operation(summary: str, *refusals: int) -> dict[str, Any]:
    """An answer in text; only `refusals` of the error statuses can happen."""
    content = {"text/plain": {"schema": _TEXT}}
    errors = _errors()
    return {
        "summary": summary,
        "responses": {
            "200": {"description": "Yes", "content": content},
            **{str(status): errors[str(status)] for status in refusals},
        },
    }


def _errors(schema: str = "Error") -> dict[str, Any]:
    """One response a status, naming its codes."""
    codes: dict[int, list[str]] = {}
    for code, (status, meaning) in ERRORS.items():
        codes.setdefault(status, []).append(f"`{code}`: {meaning}")
    content = {"application/json": {"schema": _object(schema)}}
    return {
        str(status): {"description": " ".join(texts), "content": content}
        for status, texts in sorted(codes.items())
    }


def _parameters() -> list[dict[str, Any]]:
    meanings = {
        DOMAIN_HEADER: "Site or camera; 1 to 64 of letters, digits and . _ : / @ -",
        SEQUENCE_HEADER: "Frames of one scene share it",
        CLIENT_HEADER: "Who sends; stored as a salted hash",
        DEADLINE_HEADER: "Milliseconds that the sender waits; never more than the server allows",
        REQUEST_ID_HEADER: "Comes back with the answer; made when missing",
    }
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": _TEXT}
        for name, text in meanings.items()
    ]


def _schemas() -> dict[str, Any]:
    confidence = {"type": "number", "minimum": 0, "maximum": 1}
    prediction = {
        "request_id": _TEXT,
        "model": _TEXT,
        "version": _TEXT,
        "domain": _TEXT,
        "class": _TEXT,
        "confidence": confidence,
        "abstain": {"type": "boolean"},
        "top": {
            "type": "array",
            "items": _closed({"class": _TEXT, "confidence": confidence}),
        },
        "latency_ms": _NUMBER,
    }
    error = {
        "code": {"type": "string", "enum": sorted(ERRORS)},
        "message": _TEXT,
        "hint": _TEXT,
        "request_id": _TEXT,
        "details": {"type": "object"},
    }
    result = {
        "index": {"type": "integer"},
        "filename": _TEXT,
        "status": {"type": "integer"},
        "prediction": _object("Prediction"),
        "error": _closed(error),
    }
    return {
        "Prediction": _closed(prediction),
        "Error": _closed({"error": _closed(error)}),
        "Batch": _closed(
            {
                "request_id": _TEXT,
                "answered": {"type": "integer"},
                "failed": {"type": "integer"},
                "results": {
                    "type": "array",
                    "items": _closed(result, required=["index", "filename", "status"]),
                },
            }
        ),
        "Models": _closed(
            {
                "model": _TEXT,
                "revision": {"type": "integer"},
                "updated_at": _TEXT,
                "problem": _TEXT,
                "abstain_below": {"type": "object"},
                "bundles": {"type": "array", "items": {"type": "object"}},
            }
        ),
    }


def _closed(properties: dict[str, Any], *, required: list[str] | None = None) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names}


def _object(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
