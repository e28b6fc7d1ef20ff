from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from redshank.events import Event, iter_spool
from redshank.fieldstore import FieldStore
from serving.edge import Edge
from serving.routes import build_app

GOLDEN = Path(__file__).parents[1] / "golden" / "openapi.json"
StartClient = Callable[..., Any]
MakeImage = Callable[[int], bytes]
ErrorOf = Callable[[Any], dict[str, Any]]


def events(home: Any) -> list[Event]:
    return list(iter_spool(home.settings.home.path("spool")))


def test_one_image_raw_and_as_a_form(start: StartClient, home: Any, image: MakeImage) -> None:
    client, _ = start()
    headers = {"X-Domain": "gate-1", "X-Request-ID": "mine-1"}
    raw = client.post("/v1/predict", content=image(1), headers=headers)
    form = client.post(
        "/v1/predict", files={"image": ("a.png", image(2), "image/png")}, data={"domain": "gate-2"}
    )
    assert (raw.status_code, form.status_code) == (200, 200)
    answer = raw.json()
    assert (answer["class"], answer["domain"], answer["version"]) == ("green", "gate-1", home.one)
    assert answer["request_id"] == raw.headers["x-request-id"] == "mine-1"
    assert answer["top"][0]["class"] == "green"
    assert answer["confidence"] == answer["top"][0]["confidence"]
    assert answer["abstain"] is (answer["confidence"] < 0.5)
    assert (form.json()["class"], form.json()["domain"]) == ("blue", "gate-2")


def test_an_answer_is_what_the_contract_shows(start: StartClient, image: MakeImage) -> None:
    client, _ = start()
    golden = json.loads((GOLDEN.parent / "http_prediction.json").read_bytes())
    assert list(client.post("/v1/predict", content=image(0)).json()) == list(golden)


def test_a_batch_succeeds_in_part(start: StartClient, home: Any, image: MakeImage) -> None:
    client, worker = start()
    files = [
        ("images", ("0.png", image(0), "image/png")),
        ("images", ("bad.png", b"no image", "image/png")),
        ("images", ("2.png", image(2), "image/png")),
    ]
    response = client.post("/v1/predict/batch", files=files, headers={"X-Domain": "gate-1"})
    body = response.json()
    assert response.status_code == 200
    assert (body["answered"], body["failed"]) == (2, 1)
    assert [r["status"] for r in body["results"]] == [200, 422, 200]
    assert [r["filename"] for r in body["results"]] == ["0.png", "bad.png", "2.png"]
    assert body["results"][1]["error"]["code"] == "invalid_image"
    assert [body["results"][i]["prediction"]["class"] for i in (0, 2)] == ["red", "blue"]
    worker.stop()
    assert sorted(e.outcome for e in events(home)) == ["invalid_image", "ok", "ok"]


def test_file_names_in_odd_charsets_come_back_as_json(
    start: StartClient,
) -> None:
    client, _ = start()
    part = b'Content-Disposition: form-data; name="images"; filename="\\ud800.png"'
    body = b"--x\r\n" + part + b"\r\n\r\nno image\r\n--x--\r\n"
    kind = "multipart/form-data; boundary=x; charset=unicode_escape"
    response = client.post("/v1/predict/batch", content=body, headers={"content-type": kind})
    assert response.status_code == 200
    assert [r["filename"] for r in response.json()["results"]] == ["?.png"]
    bad = client.post(
        "/v1/predict/batch", content=body, headers={"content-type": kind.replace("_escape", "")}
    )
    assert bad.status_code == 200  # an unknown charset is read as Latin-1


@pytest.mark.parametrize(
    "domain", ["../etc", "a b", "ä", "x" * 65, ".hidden", "a\nb", "-x", "a;drop", "{}"]
)
def test_odd_domains_are_refused(
    start: StartClient, image: MakeImage, domain: str, error_of: ErrorOf
) -> None:
    client, _ = start()
    raw = client.post("/v1/predict", content=image(0), headers={"X-Domain": domain.encode("utf-8")})
    form = client.post(
        "/v1/predict", files={"image": ("a", image(0), "image/png")}, data={"domain": domain}
    )
    assert error_of(raw)["code"] == error_of(form)["code"] == "invalid_domain"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data"),
        (b"--x--\r\n", "multipart/form-data; boundary=x"),
        (b"{}", "multipart/form-data; boundary=\t"),
        (b"{}", "multipart/form-data; boundary=" + "x" * 9000),
    ],
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/predict/batch"])
def test_broken_forms_are_refused(
    start: StartClient, body: bytes, kind: str, path: str, error_of: ErrorOf
) -> None:
    client, _ = start()
    response = client.post(path, content=body, headers={"content-type": kind})
    assert error_of(response)["code"] == "bad_request"


def test_forms_have_limits(
    start: StartClient, home: Any, image: MakeImage, error_of: ErrorOf
) -> None:
    client, _ = start(home.with_serving(max_files=3))
    files = [("images", (f"{i}.png", image(i), "image/png")) for i in range(4)]
    assert error_of(client.post("/v1/predict/batch", files=files))["code"] == "bad_request"
    two = client.post("/v1/predict", files=files[:2])
    assert "2 files" in error_of(two)["message"]
    fields = {f"f{i}": "x" for i in range(20)}
    assert (
        error_of(client.post("/v1/predict", data=fields, files=files[:1]))["code"] == "bad_request"
    )


def test_bodies_over_the_limit_are_refused_declared_or_streamed(
    start: StartClient, home: Any, error_of: ErrorOf
) -> None:
    client, _ = start(home.with_serving(max_body_bytes=1000))
    declared = client.post("/v1/predict", content=b"x" * 1001)
    streamed = client.post("/v1/predict", content=iter([b"x" * 600, b"x" * 600]))
    lying = client.post(
        "/v1/predict", content=iter([b"x" * 5000]), headers={"content-length": "10"}
    )
    form = client.post("/v1/predict", files={"image": ("a", b"x" * 2000, "image/png")})
    for response in (declared, streamed, lying, form):
        assert error_of(response)["code"] == "body_too_large"
        assert error_of(response)["details"] == {"limit": 1000}
    exact = client.post("/v1/predict", content=b"x" * 1000)
    assert error_of(exact)["code"] == "invalid_image"


def test_our_routes_are_reached_past_the_framework(start: StartClient, image: MakeImage) -> None:
    slot = start()[0].app._slot
    passed: list[str] = []

    async def framework(scope: Scope, _receive: Receive, send: Send) -> None:
        passed.append(scope["path"])
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"lost"})

    client = TestClient(Edge(framework, slot, build_app(slot)))
    assert client.post("/v1/predict", content=image(0)).status_code == 200
    assert client.get("/v1/predict").json()["error"]["code"] == "method_not_allowed"
    assert client.get("/predict").json()["error"]["code"] == "not_found"
    assert passed == ["/predict"]


def test_every_error_has_the_envelope(start: StartClient, error_of: ErrorOf) -> None:
    client, _ = start()
    assert error_of(client.get("/nowhere"))["code"] == "not_found"
    wrong = client.get("/v1/predict")
    assert error_of(wrong)["code"] == "method_not_allowed"
    assert wrong.headers["allow"] == "POST"
    odd = client.post("/v1/predict", content=b"x", headers={"X-Sequence-Id": "ä".encode()})
    assert error_of(odd)["code"] == "bad_request"
    assert len(error_of(client.get("/x", headers={"X-Request-ID": "a b\t"}))["request_id"]) == 24


def test_recorder_holds_exactly_what_was_sent(
    start: StartClient, home: Any, image: MakeImage
) -> None:
    client, worker = start(home.with_serving(flush_s=60.0))
    sent = []
    for n in range(40):
        data = b"broken" if n % 10 == 9 else image(n)
        headers = {"X-Domain": f"gate-{n % 3}", "X-Client-Id": f"c{n}", "X-Sequence-Id": f"s{n}"}
        answer = client.post("/v1/predict", content=data, headers=headers)
        sent.append((f"gate-{n % 3}", f"s{n}", answer.json().get("confidence", 0.0)))
    worker.stop()  # nothing was flushed before: a clean stop loses nothing
    found = events(home)
    assert [(e.domain, e.sequence_id, e.confidence) for e in found] == sent
    assert len({e.event_id for e in found}) == 40
    assert sorted(e.event_id for e in found) == [e.event_id for e in found]
    assert len({e.client for e in found}) == 40
    assert all(len(e.client) == 16 and e.client != f"c{n}" for n, e in enumerate(found))
    good = [e for e in found if e.outcome == "ok"]
    assert len(good) == 36
    for event in good:
        assert (event.role, event.version, event.model) == ("live", home.one, "default")
        assert len(event.dhash) == 16
        assert len(event.image_sha256) == 64
        assert 0 < event.brightness_mean < 1
        assert 0 < event.margin <= event.confidence
        assert 0 <= event.novelty <= 1
        assert not event.stored
    bad = [e for e in found if e.outcome != "ok"]
    assert {(e.outcome, e.class_index, e.confidence) for e in bad} == {("invalid_image", -1, 0.0)}


def test_metrics_have_bounded_labels(start: StartClient, home: Any, image: MakeImage) -> None:
    client, _ = start(home.with_serving(max_domains=2))
    for n in range(6):
        client.post("/v1/predict", content=image(n), headers={"X-Domain": f"d{n}"})
        client.get(f"/random/{n}")
    text = client.get("/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("redshank_predictions_total{")]
    assert sorted(line.split('domain="')[1].split('"')[0] for line in lines) == [
        "d0",
        "d1",
        "other",
    ]
    assert 'redshank_requests_total{route="other",status="404"} 6.0' in text
    assert 'redshank_requests_total{route="/v1/predict",status="200"} 6.0' in text
    assert "/random" not in text


def test_models_tell_what_answers(start: StartClient, home: Any) -> None:
    client, _ = start()
    answer = client.get("/v1/models").json()
    assert (answer["model"], answer["revision"], answer["problem"]) == ("default", 1, "")
    assert [(b["version"], b["role"]) for b in answer["bundles"]] == [(home.one, "live")]
    assert answer["bundles"][0]["classes"] == ["red", "green", "blue"]


def test_thresholds_of_domains_and_deadlines_of_clients(
    start: StartClient, home: Any, image: MakeImage, error_of: ErrorOf
) -> None:
    client, _ = start(home.with_serving(abstain_below={"strict": 1.0, "lax": 0.0}))
    found = {
        domain: client.post("/v1/predict", content=image(0), headers={"X-Domain": domain}).json()
        for domain in ("strict", "lax", "other")
    }
    assert found["strict"]["abstain"]
    assert not found["lax"]["abstain"]
    assert found["other"]["abstain"] is (found["other"]["confidence"] < 0.5)
    assert client.get("/v1/models").json()["abstain_below"] == {"strict": 1.0, "lax": 0.0}
    odd = client.post("/v1/predict", content=image(0), headers={"X-Deadline-Ms": "soon"})
    assert error_of(odd)["code"] == "bad_request"
    good = client.post("/v1/predict", content=image(0), headers={"X-Deadline-Ms": "60000"})
    assert (good.headers["x-model"], good.headers["x-model-version"]) == ("default", home.one)


def test_nothing_is_recorded_when_recording_is_off(
    start: StartClient, home: Any, image: MakeImage
) -> None:
    client, worker = start(home.with_serving(record=False))
    assert client.post("/v1/predict", content=image(1)).json()["class"] == "green"
    assert 'route="/v1/predict",status="200"' in client.get("/metrics").text
    worker.stop()
    assert events(home) == []


def test_probes_while_draining(start: StartClient, image: MakeImage, error_of: ErrorOf) -> None:
    client, worker = start()
    assert [client.get(p).status_code for p in ("/readyz", "/livez", "/healthz")] == [200] * 3
    worker.draining = True
    assert [client.get(p).status_code for p in ("/readyz", "/livez", "/metrics")] == [503, 200, 200]
    refused = client.post("/v1/predict", content=image(0))
    assert error_of(refused)["code"] == "not_ready"
    assert refused.headers["connection"] == "close"
    assert refused.headers["retry-after"] == "1"


def test_a_failure_inside_is_internal_and_hides_its_cause(
    start: StartClient, image: MakeImage, monkeypatch: pytest.MonkeyPatch, error_of: ErrorOf
) -> None:
    client, worker = start()

    async def fail(*_: object) -> bytes:
        raise RuntimeError("secret path /x")

    monkeypatch.setattr(worker, "predict", fail)
    response = client.post("/v1/predict", content=image(0))
    assert error_of(response)["code"] == "internal"
    assert "secret" not in response.text


def test_no_metadata_reaches_the_field_store(start: StartClient, home: Any) -> None:
    client, worker = start(home.with_serving(capture_domains=("default",)))
    exif = Image.Exif()
    exif[0x010E] = "52.5200N 13.4050E"
    buffer = io.BytesIO()
    Image.effect_noise((24, 24), 60).convert("RGB").save(buffer, "JPEG", exif=exif)
    assert client.post("/v1/predict", content=buffer.getvalue()).status_code == 200
    worker.stop()
    (kept,) = FieldStore(home.settings.home.path("field")).images("default")
    assert b"52.5200N" not in kept.path.read_bytes()
    assert events(home)[0].stored
    assert events(home)[0].image_sha256 == kept.sha256
