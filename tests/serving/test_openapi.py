from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.openapi import openapi_document
from serving.route_templates import ROUTES

GOLDEN = Path(__file__).parents[1] / "golden" / "openapi.json"
StartClient = Callable[..., Any]
MakeImage = Callable[[int], bytes]


def test_openapi_is_the_golden_one(start: StartClient) -> None:
    client, _ = start()
    assert client.get("/openapi.json").json() == json.loads(GOLDEN.read_bytes())
    assert openapi_document() == json.loads(GOLDEN.read_bytes())


MODEL = "/v2/models/{model}"
PROTOCOL = (
    ("GET", "/v2"),
    ("GET", "/v2/health/live"),
    ("GET", "/v2/health/ready"),
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/{model}/load"),
    ("POST", "/v2/repository/models/{model}/unload"),
    ("GET", MODEL),
    ("GET", MODEL + "/ready"),
    ("POST", MODEL + "/infer"),
)


def in_path(template: str) -> str:
    return template.replace("{model}", "default")


def infer_request(data: bytes) -> dict[str, Any]:
    text = base64.b64encode(data).decode()
    return {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}]}


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a JSON value is what a schema of our document says, without unknown fields."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return fits(value, openapi_document()["components"]["schemas"][name])
    if "type" not in schema:
        return True
    if schema["type"] == "array":
        return isinstance(value, list) and all(fits(v, schema["items"]) for v in value)
    if schema["type"] == "object":
        named = schema.get("properties", dict.fromkeys(value, None))
        return set(schema.get("required", ())) <= set(value) <= set(named) and all(
            named[key] is None or fits(item, named[key]) for key, item in value.items()
        )
    kinds = {"string": str, "number": int | float, "integer": int, "boolean": bool}
    return isinstance(value, kinds[schema["type"]]) and value in schema.get("enum", [value])


def test_openapi_says_what_the_server_does(start: StartClient, image: MakeImage) -> None:
    client, worker = start()
    paths = openapi_document()["paths"]
    own = {route.path for route in client.app._app.routes}
    probes = {"/healthz", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"}
    assert own - {"/openapi.json"} == set(paths) - probes - {"/predict"}
    assert set(paths) < ROUTES  # metrics know every address by its template
    files = [("images", ("a.png", image(0))), ("images", ("b.png", b"bad"))]
    answers = [
        ("/v1/predict", client.post("/v1/predict", content=image(0))),
        ("/v1/predict", client.post("/v1/predict", content=b"bad")),
        ("/v1/predict", client.get("/v1/predict")),
        ("/v1/predict/batch", client.post("/v1/predict/batch", files=files)),
        ("/v1/models", client.get("/v1/models")),
        ("/admin/reload", client.post("/admin/reload")),
        ("/metrics", client.get("/metrics")),
        ("/readyz", client.get("/readyz")),
        *((path, client.request(method, in_path(path))) for method, path in PROTOCOL),
        (MODEL + "/infer", client.post(in_path(MODEL + "/infer"), json=infer_request(image(0)))),
    ]
    worker.draining = True
    answers.append(("/readyz", client.get("/readyz")))
    for path, answer in answers:
        (operation,) = paths[path].values()
        content = operation["responses"][str(answer.status_code)]["content"]
        kind = answer.headers["content-type"].partition(";")[0]
        value = answer.json() if kind == "application/json" else answer.text
        assert fits(value, content[kind]["schema"]), (path, value)
    assert not fits({"error": {"code": "bad_request"}}, {"$ref": "#/components/schemas/Error"})
