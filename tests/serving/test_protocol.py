"""The Open Inference Protocol v2 against the shapes that its specification shows."""

from __future__ import annotations

import base64
import json
import re
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redshank.bundle import InputSpec
from redshank.events import iter_spool
from redshank.registry import Canary
from serving.protocol import parse_infer
from serving.refusal import Refusal
from serving.route_templates import template_of

StartClient = Callable[..., Any]
MakeImage = Callable[[int], bytes]
INFER = "/v2/models/default/infer"


def bytes_input(*images: bytes) -> dict[str, Any]:
    texts = [base64.b64encode(image).decode() for image in images]
    return {"name": "image", "shape": [len(images)], "datatype": "BYTES", "data": texts}


def pixels_input(*channels: int, flat: bool = False) -> dict[str, Any]:
    pixels = np.zeros((len(channels), 8, 8, 3), int)
    for number, channel in enumerate(channels):
        pixels[number, :, :, channel] = 200
    data = pixels.ravel().tolist() if flat else pixels.tolist()
    return {"name": "image", "shape": list(pixels.shape), "datatype": "UINT8", "data": data}


def column(response: Any, name: str) -> list[Any]:
    (output,) = (o for o in response.json()["outputs"] if o["name"] == name)
    assert len(output["data"]) == np.prod(output["shape"])
    found: list[Any] = output["data"]
    return found


def test_server_health_and_metadata(start: StartClient, home: Any) -> None:
    client, worker = start()
    server = client.get("/v2").json()
    assert sorted(server) == ["extensions", "name", "version"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    metadata = client.get("/v2/models/default").json()
    assert sorted(metadata) == ["inputs", "name", "outputs", "platform", "versions"]
    assert (metadata["name"], metadata["versions"]) == ("default", [home.one])
    for tensor in (*metadata["inputs"], *metadata["outputs"]):
        assert sorted(tensor) == ["datatype", "name", "shape"]
    assert [8, 8, 3] in [tensor["shape"][1:] for tensor in metadata["inputs"]]
    same = client.get(f"/v2/models/default/versions/{home.one}").json()
    assert same == metadata
    ready = client.get(f"/v2/models/default/versions/{home.one}/ready")
    assert ready.json() == {"name": "default", "ready": True}
    worker.draining = True
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/v2/health/live").status_code == 200


def test_infer_takes_files_and_pixels(start: StartClient, home: Any, image: MakeImage) -> None:
    client, worker = start()
    request: dict[str, Any] = {"id": "42", "inputs": [bytes_input(image(0), image(1), image(2))]}
    files = client.post(INFER, json=request, headers={"X-Domain": "gate-1"})
    assert files.status_code == 200
    body = files.json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("default", home.one, "42")
    assert column(files, "class") == ["red", "green", "blue"]
    assert column(files, "abstain") == [c < 0.5 for c in column(files, "confidence")]
    assert column(files, "top_classes")[::3] == ["red", "green", "blue"]
    for flat in (False, True):
        request = {"inputs": [pixels_input(2, 0, flat=flat)], "parameters": {"domain": "gate-2"}}
        pixels = client.post(f"/v2/models/default/versions/{home.one}/infer", json=request)
        assert column(pixels, "class") == ["blue", "red"]
        assert pixels.json()["parameters"] == {"domain": "gate-2"}
        assert pixels.headers["x-model-version"] == home.one
    worker.stop()
    events = list(iter_spool(home.settings.home.path("spool")))
    assert [e.domain for e in events] == ["gate-1"] * 3 + ["gate-2"] * 4
    assert all(e.outcome == "ok" and len(e.dhash) == 16 for e in events)


def test_infer_gives_the_outputs_that_were_asked_for(start: StartClient, image: MakeImage) -> None:
    client, _ = start()
    request = {"inputs": [bytes_input(image(1))], "outputs": [{"name": "class"}]}
    response = client.post(INFER, json=request)
    assert response.json()["outputs"] == [
        {"name": "class", "shape": [1], "datatype": "BYTES", "data": ["green"]}
    ]


@pytest.mark.parametrize("kind", ["BYTES", "UINT8"])
def test_infer_takes_binary_inputs(start: StartClient, image: MakeImage, kind: str) -> None:
    client, _ = start()
    tensor: dict[str, Any]
    if kind == "BYTES":
        data = b"".join(struct.pack("<I", len(image(n))) + image(n) for n in (1, 2))
        tensor = {"name": "image", "shape": [2], "datatype": "BYTES"}
    else:
        pixels = np.zeros((2, 8, 8, 3), np.uint8)
        pixels[0, ..., 1] = pixels[1, ..., 2] = 200
        data, tensor = pixels.tobytes(), {"name": "image", "shape": [2, 8, 8, 3]}
        tensor["datatype"] = "UINT8"
    tensor["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    response = client.post(INFER, content=head + data, headers=headers)
    assert column(response, "class") == ["green", "blue"]
    short = client.post(INFER, content=head + data[:-1], headers=headers)
    assert (short.status_code, list(short.json())) == (400, ["error"])


GOOD = bytes_input(b"x")


@pytest.mark.parametrize(
    ("request_body", "says"),
    [
        ({}, "inputs"),
        ({"inputs": []}, "0 inputs"),
        ({"inputs": [GOOD, GOOD]}, "2 inputs"),
        ({"inputs": [{**GOOD, "name": "x"}]}, "unknown input"),
        ({"inputs": [{**GOOD, "datatype": "FP32"}]}, "neither BYTES nor UINT8"),
        ({"inputs": [{**GOOD, "shape": [2]}]}, "shape says 2"),
        ({"inputs": [{**GOOD, "shape": [-1]}]}, "whole numbers"),
        ({"inputs": [{**GOOD, "shape": [1, 1]}]}, r"expected \[N\]"),
        ({"inputs": [{**GOOD, "shape": [65]}]}, "expected 1 to 64"),
        ({"inputs": [{**GOOD, "data": ["*"]}]}, "base64"),
        ({"inputs": [{**GOOD, "data": [""]}]}, "empty"),
        ({"inputs": [{**GOOD, "data": "x"}]}, "array"),
        ({"inputs": [GOOD], "outputs": [{"name": "z"}]}, "unknown output"),
        ({"inputs": [GOOD], "parameters": {"domain": 3}}, "expected a string"),
        ({"inputs": [GOOD], "id": 3}, "id is no string"),
        ({"inputs": [{**pixels_input(1), "shape": [1, 9, 8, 3]}]}, r"expected \[N, 8, 8, 3\]"),
        ({"inputs": [{**pixels_input(1), "data": [1, 2]}]}, "2 elements"),
        ({"inputs": [{**pixels_input(1), "data": [256] * 192}]}, "from 0 to 255"),
        ({"inputs": [{**pixels_input(1), "data": [0.5] * 192}]}, "from 0 to 255"),
        ({"inputs": [{**pixels_input(1), "data": [[1], [1, 2]]}]}, "regular array"),
        ({"inputs": [{**pixels_input(1), "data": [True] * 192}]}, "from 0 to 255"),
        ({"inputs": [{**pixels_input(1), "data": [-(2**63)] * 192}]}, "from 0 to 255"),
        ({"inputs": [{**pixels_input(1), "data": [[1], 2]}]}, "from 0 to 255"),
        ({"inputs": [{**pixels_input(1), "data": [[], []]}]}, "0 elements"),
        ({"inputs": [GOOD], "outputs": [{"name": ["class"]}]}, "unknown output"),
        ({"inputs": [GOOD], "outputs": [{"name": "class"}] * 2}, "more than once"),
        ([], "object"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_words_of_the_protocol(
    start: StartClient, request_body: Any, says: str
) -> None:
    client, _ = start()
    response = client.post(INFER, json=request_body)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert response.json()["error"]
    assert re.search(says, response.json()["error"])


def test_a_text_among_the_pixels_does_not_fill_the_memory(start: StartClient) -> None:
    """As an array of texts these 50 kB of JSON would take 400 MB, 6 MB all of a machine."""
    client, _ = start()
    data = ["x" * 10_000, *[1] * 10_000]
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    response = client.post(INFER, json={"inputs": [{**pixels_input(1), "data": data}]})
    assert response.status_code == 400
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 100_000


def test_elements_beyond_the_shape_are_not_read() -> None:
    """A body of empty elements took the square of its length: 5 s for 1 MB."""
    read = 0

    class Counted(bytes):
        def __getitem__(self, key: Any) -> Any:
            nonlocal read
            found = bytes.__getitem__(self, key)
            read += len(found)
            return found if key.start is None else Counted(found)  # JSON wants plain bytes

    data = b"\0" * 40_000
    tensor = {"name": "image", "shape": [2], "datatype": "BYTES"}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(data)}}]})
    body = Counted(head.encode() + data)
    with pytest.raises(Refusal, match="more elements than the 2"):
        parse_infer(body, len(head), InputSpec(height=8, width=8), most=64)
    assert read <= len(body) + 100


def test_infer_keeps_to_the_deadline_of_the_sender(start: StartClient, image: MakeImage) -> None:
    client, worker = start()
    body = {"inputs": [bytes_input(image(0))]}
    waits: list[float] = []
    submit = worker.batcher.submit

    def noted(job: Any) -> Any:
        waits.append(job.deadline_s)
        return submit(job)

    worker.batcher.submit = noted
    assert client.post(INFER, json=body, headers={"X-Deadline-Ms": "1500"}).is_success
    assert client.post(INFER, json=body).is_success
    assert waits == [1.5, worker.limits.deadline_s]
    odd = client.post(INFER, json=body, headers={"X-Deadline-Ms": "soon"})
    assert (odd.status_code, list(odd.json())) == (400, ["error"])


def test_a_json_length_of_thousands_of_digits_is_refused(start: StartClient) -> None:
    client, _ = start()
    headers = {"Inference-Header-Content-Length": "9" * 5000}
    assert client.post(INFER, content=b"{}", headers=headers).status_code == 400


def test_errors_have_the_shape_of_the_protocol_here_and_ours_elsewhere(
    start: StartClient, home: Any, image: MakeImage
) -> None:
    client, _ = start(home.with_serving(max_body_bytes=5000))
    bad = client.post(INFER, json={"inputs": [bytes_input(image(0), b"no image")]})
    assert bad.status_code == 422
    assert bad.json()["error"].startswith("image 1: ")
    for path, status in (
        ("/v2/models/other", 404),
        ("/v2/models/default/versions/none", 404),
        ("/v2/nowhere", 404),
        (INFER, 405),
    ):
        response = client.get(path)
        assert (response.status_code, list(response.json())) == (status, ["error"])
        assert isinstance(response.json()["error"], str)
    assert client.post(INFER, content=b"{").status_code == 400
    assert client.post(INFER, content=b"x" * 6000).status_code == 413
    assert isinstance(client.get("/v1/nowhere").json()["error"], dict)


def test_a_canary_is_a_version_that_can_be_asked(
    start: StartClient, home: Any, image: MakeImage
) -> None:
    canary = Canary(home.two, ("elsewhere",), 1.0)
    home.registry.set_canary("default", canary, actor="test", reason="", at_s=2.0)
    client, worker = start()
    assert client.get("/v2/models/default").json()["versions"] == [home.one, home.two]
    for version, word in ((home.one, "red"), (home.two, "rot")):
        path = f"/v2/models/default/versions/{version}/infer"
        response = client.post(path, json={"inputs": [bytes_input(image(0))]})
        assert (column(response, "class"), response.json()["model_version"]) == ([word], version)
    worker.stop()
    roles = {(e.version, e.role) for e in iter_spool(home.settings.home.path("spool"))}
    assert roles == {(home.one, "live"), (home.two, "canary")}


def test_the_repository_goes_through_the_release(
    start: StartClient, home: Any, image: MakeImage, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.json"
    asks, rules = [{"roles": roles} for roles in (["predict"], ["admin", "predict"])]
    tokens.write_text(json.dumps({"asks": asks, "rules": rules}))
    client, _ = start(home.with_serving(tokens_file=str(tokens)))
    ask = {"Authorization": "Bearer asks"}
    rule = {"Authorization": "Bearer rules"}
    index = client.post("/v2/repository/index", headers=ask).json()
    assert [(e["version"], e["state"]) for e in index] == [
        (home.two, "UNAVAILABLE"),
        (home.one, "READY"),
    ]
    load, unload = (f"/v2/repository/models/default/{verb}" for verb in ("load", "unload"))
    wanted = {"parameters": {"version": home.two}}
    assert client.post(load, json=wanted, headers=ask).status_code == 401
    assert home.registry.read("default").live == home.one
    assert client.post(load, json=wanted, headers=rule).json() == {}
    assert home.registry.read("default").live == home.two
    assert home.registry.read("default").actor == "v2/repository"
    answer = client.post(INFER, json={"inputs": [bytes_input(image(0))]}, headers=ask)
    assert column(answer, "class") == ["rot"]  # loaded when `load` returned
    only = client.post("/v2/repository/index", json={"ready": True}, headers=ask).json()
    assert [e["version"] for e in only] == [home.two]
    assert client.post(unload, json=wanted, headers=rule).status_code == 400  # it is live
    home.registry.set_shadow("default", home.one, actor="test", reason="", at_s=2.0)
    assert client.post(unload, json={"parameters": {"version": home.one}}, headers=rule).is_success
    assert home.registry.read("default").shadow is None
    missing = client.post(load, json={"parameters": {"version": "../x"}}, headers=rule)
    assert missing.status_code == 404


def test_metrics_know_templates_only() -> None:
    model = "/v2/models/{model}"
    assert template_of("/v1/predict") == "/v1/predict"
    assert template_of("/v2/models/a/infer") == f"{model}/infer"
    assert template_of("/v2/models/b/versions/7/ready") == model + "/versions/{version}/ready"
    assert template_of("/v2/repository/models/b/load") == "/v2/repository/models/{model}/load"
    for odd in ("/v2/", "/v2/x", "/v2/models", "/v2/models/a/b", "/v2/models/a/versions", "/x"):
        assert template_of(odd) == "other"
