"""The Open Inference Protocol v2 in our OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .protocol import INPUT, OUTPUTS

_TEXT = {"type": "string"}
_MODEL = "/v2/models/{model}"
_VERSION = "/v2/models/{model}/versions/{version}"
Operation = Callable[..., dict[str, Any]]


def protocol_paths(operation: Operation) -> dict[str, Any]:
    """The paths of the protocol.

    Args:
        operation: makes an operation of a summary and the schema of its answer.
    """

    def described(method: str, summary: str, answer: str, *names: str) -> dict[str, Any]:
        made = operation(summary, _ref(answer), errors="ProtocolError")
        if names:
            made["parameters"] = [_in_path(name) for name in names]
        if method == "post":
            request = "InferRequest" if answer == "InferResponse" else "RepositoryRequest"
            content = {"application/json": {"schema": _ref(request)}}
            made["requestBody"] = {"required": answer == "InferResponse", "content": content}
        return {method: made}

    repository = "/v2/repository/models/{model}"
    paths = {
        "/v2": described("get", "The server by the inference protocol", "Server"),
        "/v2/health/live": described("get", "The process runs", "Live"),
        "/v2/health/ready": described("get", "A model takes requests", "Ready"),
        "/v2/repository/index": described("post", "Bundles of the model", "Index"),
        f"{repository}/load": described("post", "Publish a bundle", "Nothing", "model"),
        f"{repository}/unload": described("post", "End a canary or shadow", "Nothing", "model"),
    }
    for path, names in ((_MODEL, ("model",)), (_VERSION, ("model", "version"))):
        paths |= {
            path: described("get", "Inputs and outputs", "ModelMetadata", *names),
            f"{path}/ready": described("get", "Whether it answers", "ModelReady", *names),
            f"{path}/infer": described("post", "Classify images", "InferResponse", *names),
        }
    return paths


def protocol_schemas() -> dict[str, Any]:
    """Schemas of the protocol, by their names."""
    integers = {"type": "array", "items": {"type": "integer"}}
    texts = {"type": "array", "items": _TEXT}
    data: dict[str, Any] = {"type": "array", "items": {}}
    flag, parameters = {"type": "boolean"}, {"type": "object"}
    tensor: dict[str, Any] = {"name": _TEXT, "datatype": _TEXT, "shape": integers}
    named = {**tensor, "name": {"type": "string", "enum": [INPUT]}, "parameters": parameters}
    output = {**tensor, "name": {"type": "string", "enum": list(OUTPUTS)}, "data": data}
    wanted = _object({"name": output["name"], "parameters": parameters}, "name")
    inputs = {"type": "array", "items": _object({**named, "data": data}, *tensor)}
    entry = _object({"name": _TEXT, "version": _TEXT, "state": _TEXT, "reason": _TEXT})
    return {
        "ProtocolError": _object({"error": _TEXT}),
        "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": texts}),
        "Live": _object({"live": flag}),
        "Ready": _object({"ready": flag}),
        "Nothing": {"type": "object"},
        "Index": {"type": "array", "items": entry},
        "ModelReady": _object({"name": _TEXT, "ready": flag}),
        "ModelMetadata": _object(
            {
                "name": _TEXT,
                "versions": texts,
                "platform": _TEXT,
                "inputs": {"type": "array", "items": _object(tensor)},
                "outputs": {"type": "array", "items": _object(tensor)},
            }
        ),
        "InferRequest": _object(
            {
                "id": _TEXT,
                "parameters": parameters,
                "inputs": inputs,
                "outputs": {"type": "array", "items": wanted},
            },
            "inputs",
        ),
        "InferResponse": _object(
            {
                "model_name": _TEXT,
                "model_version": _TEXT,
                "id": _TEXT,
                "parameters": parameters,
                "outputs": {"type": "array", "items": _object(output)},
            }
        ),
        "RepositoryRequest": {
            "type": "object",
            "properties": {"ready": flag, "parameters": parameters},
        },
    }


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    names = list(required or properties)
    return {"type": "object", "properties": properties, "required": names}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
